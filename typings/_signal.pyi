# The C half of `signal`, which the far side imports alone: the Python half takes time to load.
from signal import *
