"""How the tissues of label maps look on CT."""

from contour.training.synthesis import Tissue

TRUNK_TISSUES = (
    Tissue(("lung",), (-880, -780), 60.0),
    Tissue(("trachea",), (-1000, -970), 10.0),
    Tissue(("vertebrae", "sacrum", "hip", "femur", "skull", "humerus"), (150, 350), 110.0),
    Tissue(("rib", "sternum", "scapula", "clavicula"), (250, 550), 150.0),
    Tissue(("costal_cartilages",), (80, 180), 40.0),
    Tissue(("heart", "aorta", "pulmonary", "atrial", "superior_vena"), (35, 50), 10.0, 1.0),
    Tissue(("brachiocephalic", "subclavian", "common_carotid", "iliac_art"), (35, 50), 10.0, 1.0),
    Tissue(("inferior_vena", "portal", "iliac_vena"), (35, 50), 10.0, 0.6),
    Tissue(("liver", "spleen"), (40, 65), 10.0, 0.35),
    Tissue(("kidney", "adrenal", "pancreas", "thyroid"), (30, 50), 12.0, 0.6),
    Tissue(("stomach", "small_bowel", "duodenum", "colon"), (-40, 60), 60.0, 0.1),
    Tissue(("esophagus",), (15, 45), 20.0, 0.1),
    Tissue(("spinal_cord",), (15, 45), 10.0),
    Tissue(("autochthon", "gluteus", "iliopsoas"), (40, 65), 15.0, 0.1),
    Tissue(("gallbladder", "urinary_bladder", "prostate"), (5, 40), 10.0),
)
HEAD_TISSUES = (
    Tissue(("Brain", "Hippocampus", "Amygdala", "Cerebellum", "Thalamus"), (25, 45), 6.0),
    Tissue(("Ventricles", "CSF"), (0, 15), 5.0),
    Tissue(("Optic", "Eye"), (5, 40), 8.0),
    Tissue(("SpinalCord",), (20, 45), 8.0),
    Tissue(("Bone_Cortical",), (500, 1100), 200.0),
    Tissue(("Bone_Cancellous",), (150, 400), 100.0),
    Tissue(("Skin", "Mucosa"), (-30, 50), 20.0),
    Tissue(("RectusMuscles",), (35, 65), 12.0),
    Tissue(("Artery", "Vein"), (35, 50), 10.0, 1.0),
    Tissue(("OtherSoftTissue",), (-110, 40), 40.0),
)
