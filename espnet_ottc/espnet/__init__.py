"""OTTC inside ESPnet: the only package that imports espnet2.

`espnet_ottc.espnet.register` makes ESPnet's ASR task know `ctc_type: ottc`, `model: ottc`, the encoders
and the data type `lhotse`; the commands in `espnet_ottc.bin` import it first.
"""

from espnet_ottc.utils.extras import require_extra

require_extra("espnet", "espnet_ottc.espnet", ("espnet2",))
