"""ESPnet's ASR training with OTTC: `python -m espnet_ottc.bin.asr_train`.

All options of `espnet2.bin.asr_train`; `--print_config --ctc_conf ctc_type=ottc` shows those of the
criterion, and docs/howto/espnet.md explains them.
"""

import contextlib
import sys

# At import, not behind the main guard: the fresh interpreters that ESPnet starts for several GPUs
# import this module and no more.  What ESPnet prints while it is imported would end up in the YAML
# of --print_config.
with contextlib.redirect_stdout(sys.stderr):
    from espnet2.bin.asr_train import get_parser, main

    import espnet_ottc.espnet.register  # noqa: F401

__all__ = ["get_parser", "main"]

if __name__ == "__main__":
    main()
