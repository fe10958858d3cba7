#pragma once

#include "isa/neon_float.h"
