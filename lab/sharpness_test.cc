#include "lab/sharpness.h"
