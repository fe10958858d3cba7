#pragma once

#include "isa/avx2_float.h"
