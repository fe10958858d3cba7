#pragma once

namespace edgelm {

// Core cycles a second at this moment, from a chain of dependent register adds, one cycle each.
// Needs no performance counters, which virtual machines often lack. Takes about a millisecond.
double clock_hz();

// Processor seconds that this thread has used: what others run meanwhile does not count.
double thread_seconds();

}  // namespace edgelm
