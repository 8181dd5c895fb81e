"""The strategy without any communication."""

import sys
import warnings

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.strategies import StrategyRegistry

import decinv.cli  # noqa: F401  (registers the strategy)
from decinv.strategies import IndependentStrategy


def trainer(**options: object) -> Trainer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Trainer(accelerator="cpu", strategy="independent", logger=False, enable_checkpointing=False, **options)


def test_it_is_registered_by_name() -> None:
    assert isinstance(StrategyRegistry.get("independent"), IndependentStrategy)


def test_every_collective_is_local() -> None:
    strategy = trainer(num_nodes=2).strategy
    value = torch.tensor([1.0, 2.0])
    assert (strategy.world_size, strategy.global_rank) == (2, 0)
    assert strategy.barrier("anything") is None
    assert strategy.broadcast("one", src=1) == "one"
    assert strategy.reduce(value, reduce_op="sum") is value
    assert strategy.all_gather(value) is value
    assert strategy.reduce_boolean_decision(True, all=True) is True
    assert strategy.reduce_boolean_decision(False, all=False) is False
    assert not torch.distributed.is_initialized()


def test_a_notebook_has_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    monkeypatch.setattr("lightning.pytorch.trainer.connectors.accelerator_connector._IS_INTERACTIVE", True)
    assert trainer(devices=1).strategy.launcher is None
    with pytest.raises(ValueError, match="Expected one device in an interactive session, but got 2; run the command in a term"):
        trainer(devices=2)
