"""The HTML of a training's report: self-contained, without scripts, escaped by jinja2."""

from __future__ import annotations

from typing import Any

import jinja2

from app.profile.pages import FOLDER, moment_text, number
from app.training.pictures import BASIS_POINTS, pictures
from models.predicting.baselines import TITLES


def signed_share(share: float | None) -> str:
    """Return a share as %, with its sign."""
    return "-" if share is None else f"{share:+.2%}"


def percent(share: float | None) -> str:
    """Return a share as %."""
    return "-" if share is None else f"{share:.2%}"


def level(share: float) -> str:
    """Return a share that somebody chose as %."""
    return f"{share * 100:.6g}%"


def root_points(mse: float) -> str:
    """Return the root of a mean squared error of returns, in basis points."""
    return f"{mse**0.5 * BASIS_POINTS:.4f}"


def basis_points(value: float | None) -> str:
    """Return a return in basis points."""
    return "-" if value is None else f"{value * BASIS_POINTS:.4g}"


def correlation(value: float | None) -> str:
    """Return a correlation with its sign."""
    return "-" if value is None else f"{value:+.4f}"


def training_page(report: dict[str, Any]) -> str:
    """Return the page of a report."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        moment=moment_text,
        number=number,
        signed=signed_share,
        percent=percent,
        level=level,
        root=root_points,
        points=basis_points,
        correlation=correlation,
    )
    template = environment.get_template("training.html")
    return template.render(report=report, plots=pictures(report), titles=TITLES)
