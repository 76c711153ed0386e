"""What other packages say of a fault, as one line for a user."""


def pytorchs_reason(fault: BaseException) -> str:
    """Why PyTorch does not read a file of parameters, without its advice to run what the file holds."""
    said = str(fault).strip() or repr(fault)
    reason = said.rpartition("WeightsUnpickler error:")[2].strip() or said
    return reason.splitlines()[0].partition(". Please")[0]
