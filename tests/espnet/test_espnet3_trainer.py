"""ESPnet-3 trains by Lightning: its module tells criteria the epoch."""

import pytest
import torch

lightning = pytest.importorskip("lightning")
pytest.importorskip("espnet3", reason="this ESPnet has no espnet3")

from espnet3.components.modeling.lightning_module import ESPnetLightningModule  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402

from espnet_ottc.espnet.building import build_criterion  # noqa: E402
from espnet_ottc.espnet.lightning import follow_epochs  # noqa: E402


class Recogniser(ESPnetLightningModule):
    """ESPnet-3's module around a criterion alone; its data and its optimizer are the test's own."""

    def __init__(self) -> None:
        lightning.LightningModule.__init__(self)
        torch.manual_seed(0)
        self.model = torch.nn.Module()
        self.model.ctc = build_criterion(5, 8, ctc_type="ottc", freeze_alpha_after_epoch=1)
        self.config = OmegaConf.create({"num_device": 1})
        self.is_espnet_sampler = False
        self.automatic_optimization = True
        self.heads: list[torch.Tensor] = []
        self.frozen: list[bool] = []

    def training_step(self, batch: torch.Tensor, number: int) -> torch.Tensor:
        head = self.model.ctc.frame_head
        self.heads.append(torch.cat([p.detach().flatten() for p in head.parameters()]))
        self.frozen.append(self.model.ctc.frozen)
        lengths = torch.full((len(batch),), batch.shape[1])
        texts = torch.tensor([[1, 2]]).expand(len(batch), 2)
        return self.model.ctc(batch, lengths, texts, torch.full((len(batch),), 2))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.1, weight_decay=0.1)

    def train_dataloader(self) -> torch.utils.data.DataLoader:
        data = torch.randn(8, 12, 8, generator=torch.Generator().manual_seed(0))
        return torch.utils.data.DataLoader(data, batch_size=4)

    def validation_step(self, *arguments: object) -> None:
        pass

    def val_dataloader(self) -> list[object]:
        return []

    def state_dict(self, *arguments: object, **more: object) -> dict[str, torch.Tensor]:
        return torch.nn.Module.state_dict(self)


@pytest.mark.filterwarnings("ignore")
def test_a_frame_weight_head_stays_as_it_is_after_its_last_epoch(tmp_path) -> None:
    follow_epochs()
    follow_epochs()  # once is enough
    module = Recogniser()
    assert len(module.configure_callbacks()) == 1
    trainer = lightning.Trainer(
        max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module)
    assert module.frozen == [False] * 2 + [True] * 4
    assert not torch.equal(module.heads[0], module.heads[2])
    assert all(torch.equal(module.heads[2], later) for later in module.heads[3:])
