"""From finished runs to one page: accuracy over frames and cost, in figures and tables."""

from slowfast.report.build import summary_lines, write_report
from slowfast.report.claims import Claim, claims
from slowfast.report.cost import costs, gflops, latency_ms, parameters, peak_mb
from slowfast.report.publish import publish
from slowfast.report.results import Cost, Coverage, CurvePoint, Dataset, Report, Run

__all__ = [
    "Claim",
    "Cost",
    "Coverage",
    "CurvePoint",
    "Dataset",
    "Report",
    "Run",
    "claims",
    "costs",
    "gflops",
    "latency_ms",
    "parameters",
    "peak_mb",
    "publish",
    "summary_lines",
    "write_report",
]
