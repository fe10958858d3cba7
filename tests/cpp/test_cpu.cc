#include "core/cpu.h"
#include "testing.h"

TEST(usable_cores_is_positive) { EXPECT(edgelm::usable_cores() >= 1); }
