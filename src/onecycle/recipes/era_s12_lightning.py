"""The course's custom ResNet in Lightning, ERA session 12."""

from .schema import Augment, Component, Data, Recipe


def era_s12_lightning() -> Recipe:
    """The custom ResNet of ERA session 12, written for Lightning: conv, pool, ReLU, BatchNorm, dropout in each block.

    From the course's document: 6,573,130 parameters, batch 512, crop, flip, cutout 8x8; Adam with the weight decay 1e-4
    of its LitCifar10, added to the gradient; the rate, found by a range test, linear from 0 to about 0.0554 in epoch 5
    and to 0 at the end of epoch 24. Open in the document: the dropout rate, 0.05, of whole channels.

    Published: 90.3% on what it validates with. Measured: 91.02% on the test set, one run, seed 0; 12,887 s of training
    on two cores of an AMD EPYC with AVX2, which were busy with other work too.

    onecycle train era_s12_lightning
    """
    return Recipe(
        name="era_s12_lightning",
        data=Data(name="cifar10", batch_size=512),
        augment=Augment(crop_padding=4, padding="zeros", flip="random", cutout=8),
        model=Component(name="custom_resnet", order="conv-pool-relu-norm", block_dropout=0.05),
        optimizer=Component(name="adam", weight_decay=1e-4),
        schedule=Component(name="one_cycle", epochs=24, peak_epoch=5, lr_min=0.0, lr_max=0.0554, lr_final=0.0),
    )
