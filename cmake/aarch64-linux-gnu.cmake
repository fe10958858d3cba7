# Cross-compiles for arm64 Linux with Debian's g++-aarch64-linux-gnu, or with clang on its libraries:
#   cmake --toolchain cmake/aarch64-linux-gnu.cmake [-DCMAKE_CXX_COMPILER=clang++] ...
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
if(NOT CMAKE_CXX_COMPILER)
  set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
endif()
set(CMAKE_CXX_COMPILER_TARGET aarch64-linux-gnu)  # g++ has one target, clang many
# The host's own read no arm64 objects.
foreach(tool AR RANLIB NM STRIP OBJDUMP)
  string(TOLOWER ${tool} name)
  find_program(CMAKE_${tool} aarch64-linux-gnu-${name} REQUIRED)
endforeach()
