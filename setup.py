"""Installs the `slowfast` package; requirements.txt pins the versions it is tested with."""

from setuptools import find_packages, setup

setup(
    name="slowfast-ffn",
    version="0.1.0",
    description="Video networks that keep their accuracy at any frame count",
    license="Apache-2.0",
    # A wheel has the command lines, too; `slowfast COMMAND` finds those of a clone by itself.
    packages=[*find_packages(include=["slowfast", "slowfast.*"]), "slowfast.tools"],
    package_dir={"slowfast.tools": "tools"},
    entry_points={"console_scripts": ["slowfast = slowfast.cli:main"]},
    python_requires=">=3.11",
    install_requires=[
        "torch==2.13.0",
        "numpy>=1.26",
        "fvcore>=0.1.5.post20221221",
        "iopath>=0.1.10",
        "PyYAML>=6.0",
        "av>=17",
        "pillow>=10.1",
        "safetensors>=0.4",
        "tqdm>=4.66",
        "matplotlib>=3.8",
        "tensorboard>=2.16",
        "packaging>=23",
    ],
    # Imported only where used.  Beside a CPU build of torch, torchvision needs one as well.
    extras_require={
        "dev": ["pytest>=8", "pytest-xdist>=3.5", "ruff>=0.9", "pre-commit>=3.7"],
        "torchcodec": ["torchcodec"],
        "torchvision": ["torchvision==0.28.0"],
        "timm": ["timm>=1.0", "torchvision==0.28.0"],
        "pytorchvideo": ["pytorchvideo==0.1.5", "torchvision==0.28.0"],
        "parquet": ["pyarrow"],
        "onnx": ["onnx", "onnxruntime", "onnxscript"],
        "demo": ["gradio>=6"],
        "slurm": ["submitit"],
    },
)
