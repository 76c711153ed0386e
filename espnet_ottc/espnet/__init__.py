"""OTTC inside ESPnet: the only package that imports espnet2.

`espnet_ottc.espnet.register` makes ESPnet's ASR task know `ctc_type: ottc`, `model: ottc`, the encoders
and the data type `lhotse`; the commands in `espnet_ottc.bin` import it first.
"""
