"""The model card of `models/thorax_ct`."""

from contour.inference.package import Training
from contour.training.config import TrainingConfig

DATA = (
    "LIDC-IDRI-0001 (TCIA), labels by TotalSegmentator: chest CT",
    "TotalSegmentator example CT at 3 mm and a slab of 20 slices, labels by TotalSegmentator: abdomen",
    "TotalSegmentator data set s0327 and s0328: label maps only, images synthesized from them",
    "LIDC-IDRI-0314, LIDC-IDRI-1011, NSCLC Radiogenomics R01-001, CMB-CRC 01068, 4D-Lung HM10395, ACRIN-FLT-Breast 013 "
    "(TCIA): no labels of their own; propagated from LIDC-IDRI-0001, lungs and trachea by HU, refined by the network",
)
LICENCES = ("CC BY 3.0 (TCIA)", "CC BY 4.0 (TCIA, TotalSegmentator data set)", "Apache-2.0 (TotalSegmentator examples)")
COMMAND = "python -m scripts.thorax_ct.build --data DATA"

TEXT = """# {title}

`{name}` {version}. For automatic drafts of contours on planning CT of the chest; every contour is for a clinician's
review before any use. Not a medical device.

## What it draws

{labels}

on the whole chest and upper abdomen, on a grid of {spacing} mm, with a U-Net of {filters} channels and patches of
{patch} voxels.

## Training data and licences

{data}

Licences: {licences}. Rebuilt by `{command}`; checksum of the prepared cases {data_sha256}.

The labels come from **very few people**: one chest was labelled (automatically, by another network), six chests got
their labels from it by registration and self-training, two label maps gave synthetic images. No label was drawn by a
clinician for this network.

## Figures

On cases that took no part in training, through the path that ships (DICOM in, structures on the planning grid); the
size of the patches was chosen on the phantom. References are clinical contours of two planning CTs (NSCLC-Radiomics,
TCIA; used for validation only). They are not exact: hearts are cut off at the base, the "cord" follows the canal and
stops where the planner stopped, and lungs leave out the tumour; the rows "drawn slices" compare within the slices that
the planner drew.

{figures}

Aorta, trachea, liver, spleen and stomach have no clinical reference here and are **unmeasured on patients**. On the
analytic phantom of `contour demo` (never trained on): lungs .95 and .97, liver .90, heart .88, aorta .83, trachea .74,
cord .65, oesophagus .52, stomach .39, spleen .18.

Confidence is overstated: the oesophagus of LUNG1-002 has .84. The protocol therefore asks for a look at the oesophagus,
the stomach and the spleen unless it is .97 or more.

## Known limits

- Two validation patients show that it works, not how well it works on a population.
- Tumours, effusions, collapsed lung and pneumonectomy were hardly seen: lungs may leak or stop there.
- Adults lying supine, arms up, with and without contrast medium. Children, prone patients, implants and strong metal
  artefacts were not seen. Orientation is taken from the DICOM geometry, so stored order does not matter.
- **The oesophagus is not usable without being redrawn**: it is drawn in pieces or not at all. Stomach and spleen are
  little better.
- The weights of the first stage were trained with the kidneys and the venae cavae as further structures, which hardly
  had been learnt and were dropped before the second stage; the committed recipe leaves them out from the start.
"""


def card_text(config: TrainingConfig, training: Training, figures: str) -> str:
    """The card in Markdown; `figures` is a table, or a sentence that says why there is none."""
    return TEXT.format(
        title=config.title,
        name=config.name,
        version=config.version,
        labels=", ".join(label.name for label in config.labels),
        spacing=" x ".join(f"{mm:g}" for mm in config.preprocessing.spacing_zyx_mm),
        filters=", ".join(map(str, config.network.filters)),
        patch=" x ".join(map(str, config.patch_shape_zyx)),
        data="\n".join(f"- {line}" for line in training.data),
        licences="; ".join(training.licences),
        command=training.command,
        data_sha256=training.data_sha256,
        figures=figures,
    )
