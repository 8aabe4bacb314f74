"""The assignment's recipe."""

from .schema import Augment, Component, Data, Loss, Recipe


def custom_resnet() -> Recipe:
    """The custom ResNet on CIFAR-10: 24 epochs, one-cycle with its peak at 5, no annihilation, batch 512, AdamW."""
    return Recipe(
        name="custom_resnet",
        data=Data(name="cifar10", batch_size=512),
        augment=Augment(crop_padding=4, padding="reflect", flip="alternating", cutout=8),
        model=Component(name="custom_resnet"),
        optimizer=Component(name="adamw", weight_decay=0.05, decay_norms_and_biases=False),
        schedule=Component(name="one_cycle", epochs=24, peak_epoch=5, lr_min=5e-6, lr_max=5e-3, lr_final="lr_min"),
        loss=Loss(label_smoothing=0.1),
    )
