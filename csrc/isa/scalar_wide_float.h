#pragma once

#include "isa/scalar_float.h"
