"""What is measured: this library and its peers, one file each, all with the same face."""

from peers.base import Peer

#: Module and class of each peer that runs in the bench process, in the order of the table.
IN_PROCESS = (
    ("peers.numpack_", "NumPackPeer"),
    ("peers.numpack_", "NumPackViewHeld"),
    ("peers.numpack_", "NumPackSecondReader"),
    ("peers.npy", "NpyPeer"),
    ("peers.memmap", "MemmapPeer"),
    ("peers.numpy_", "NumPyPeer"),
    ("peers.h5py_", "Hdf5Peer"),
    ("peers.zarr_", "ZarrPeer"),
    ("peers.arrow_ipc", "ArrowIpcPeer"),
)

__all__ = ["IN_PROCESS", "Peer"]
