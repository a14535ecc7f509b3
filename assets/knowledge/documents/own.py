"""What the project says of itself, as documents: contracts, metrics, model cards, decisions and monthly briefs.

What a home does not have yet gives no document: an empty one has contracts and metrics only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from assets.knowledge.documents.document import Document
from assets.knowledge.documents.own_briefs import briefs
from assets.knowledge.documents.own_decisions import releases, reviews
from assets.knowledge.documents.own_definitions import contracts, metrics
from assets.knowledge.documents.own_documents import Labels
from assets.knowledge.documents.own_models import model_cards

if TYPE_CHECKING:
    from assets.domains import Domain
    from assets.monitoring.record import Record
    from assets.warehouse.manifest import Manifest
    from serving.models.registry import Version
    from serving.rollout.state import Rollout
    from serving.settings import Settings


def collect_own(settings: Settings, domain: Domain, manifest: Manifest, labels: Labels | None = None) -> list[Document]:
    """All documents of the project's own, by kind and then by name.

    Args:
        labels: by kind (``contract``, ``metric``, ``model_card``, ``decision``, ``brief``), what a reader holds.

    Raises:
        ClearwayError: something that is there cannot be read; the message names it.
    """
    from assets.knowledge.documents.own_values import monthly_values
    from serving.semantics.catalogue import load_catalogue

    catalogue = load_catalogue(manifest.folder / "semantic_manifest.json")
    return [
        *contracts(domain, labels),
        *metrics(manifest, catalogue, labels),
        *model_cards(registered(settings), domain.models, labels),
        *releases(released(settings), labels),
        *reviews(reviewed(settings), labels),
        *briefs(monthly_values(settings.warehouse_file), catalogue, labels),
    ]


def registered(settings: Settings) -> Mapping[str, list[Version]]:
    """All versions by model, newest first; none when there is no registry yet, which is not made by asking."""
    from pathlib import Path

    from serving.models.registry import model_names, versions

    local = settings.mlflow.removeprefix("sqlite:///") if settings.mlflow.startswith("sqlite:///") else None
    if local is not None and not Path(local).exists():
        return {}
    return {name: versions(name, settings) for name in model_names(settings)}


def released(settings: Settings) -> list[Rollout]:
    """The releases that were decided, by model and in order."""
    from serving.rollout.read import read_state, released_models

    models = released_models(settings)
    every = [rollout for model in models for rollout in read_state(model, settings).rollouts.values()]
    return [rollout for rollout in every if rollout.record is not None]


def reviewed(settings: Settings) -> list[Record]:
    """The records of reviews, by model, period and revision."""
    from assets.monitoring.record import Records

    folder = settings.reviews
    models = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return [record for model in models for record in Records(folder, model).all()]
