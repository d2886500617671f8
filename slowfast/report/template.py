"""The page around a report: layout and colours, light and dark."""

from string import Template

PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
:root {
  --page: #f6f7f9; --card: #ffffff; --ink: #1f2430; --soft: #5d6675; --line: #e1e5ea;
  --own: #eef4fb; --good: #0b7a55; --bad: #b3261e; --accent: #d55e00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171c; --card: #1c2027; --ink: #e8eaee; --soft: #a3acb9; --line: #323843;
    --own: #243142; --good: #4cc79a; --bad: #ff8a80; --accent: #ff9248;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 2.5rem 1rem 4rem; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
main { max-width: 1080px; margin: auto; }
h1 { font-size: clamp(1.7rem, 4vw, 2.4rem); line-height: 1.15; margin: 0 0 .8rem; }
h2 { font-size: 1.25rem; margin: 2.8rem 0 .9rem; }
.lead { font-size: 1.12rem; margin: 0 0 1.6rem; padding-left: 1rem;
  border-left: 4px solid var(--accent); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; }
ul.claims { list-style: none; padding: 0; margin: 0; background: var(--card);
  border: 1px solid var(--line); border-radius: 10px; }
ul.claims li { display: grid; grid-template-columns: 1.6rem 1fr max-content; gap: .6rem;
  padding: .55rem 1rem; border-top: 1px solid var(--line); }
ul.claims li:first-child { border-top: 0; }
ul.claims b { font-variant-numeric: tabular-nums; }
.mark { font-weight: 700; } .holds .mark { color: var(--good); } .fails .mark { color: var(--bad); }
.figures { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1.2rem; }
figure { margin: 0; background: #ffffff; border: 1px solid var(--line); border-radius: 10px;
  padding: 1rem; color: #1f2430; }
figure.wide { grid-column: 1 / -1; }
img { display: block; width: 100%; height: auto; margin: auto; }
figure.wide img { max-width: 900px; }
figcaption { font-size: .9rem; color: #5d6675; margin-top: .7rem; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; margin: 0 0 1.2rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .8rem 1rem .5rem; }
th, td { padding: .38rem .7rem; text-align: right; white-space: nowrap; }
th:first-child { padding-left: 1rem; } td:last-child, th:last-child { padding-right: 1rem; }
thead th { color: var(--soft); font-weight: 600; border-bottom: 1px solid var(--line);
  white-space: normal; vertical-align: bottom; }
th[scope=row], thead th.label { text-align: left; } th[scope=row] { font-weight: 400; }
tbody tr + tr > * { border-top: 1px solid var(--line); }
td.own { background: var(--own); }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem;
  overflow-x: auto; font-size: .9rem; }
.note { color: var(--soft); font-size: .92rem; }
@media (max-width: 760px) {
  .figures { grid-template-columns: 1fr; }
  dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; }
}
@media print { body { background: #fff; padding: 0; } figure, .scroll { break-inside: avoid; } }
</style>
</head>
<body>
<main>
<h1>$title</h1>
<p class="lead">$summary</p>
<dl>
$facts
</dl>
<h2>What was claimed, and what was measured</h2>
<ul class="claims">
$claims
</ul>
<h2>Figures</h2>
<div class="figures">
$pictures
</div>
<h2>Tables</h2>
<p class="note">Bold: best of the networks compared. Shaded: tested at a frame count the network
was trained at.</p>
$tables
<h2>Coverage</h2>
<p class="note">A video that cannot be read is never replaced by another: it is named here and
missing from the accuracy.</p>
<ul>
$coverage
</ul>
<h2>Reproduce</h2>
<pre><code>$commands</code></pre>
</main>
</body>
</html>
""")
