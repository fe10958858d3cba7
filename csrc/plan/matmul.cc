#include "plan/matmul.h"

namespace edgelm {

void Matmul::run(int matrix, Range columns, Rows x, int n_tokens, Rows out) const {
  MatmulArgs args{};
  args.groups = weight.packed + weight.group_offset(matrix, columns.begin);
  args.n_rows = columns.size();
  args.k = weight.k;
  args.act = reinterpret_cast<const uint8_t*>(x.data);
  args.act_stride = x.stride_bytes;
  args.n_tokens = n_tokens;
  args.out = out[0];
  args.out_stride = out.stride_bytes / sizeof(float);
  args.scratch = reinterpret_cast<uint8_t*>(scratch);
  args.form = form;
  weight.kernels->matmul(args);
  if (bias == nullptr) return;
  const auto first = static_cast<size_t>(matrix) * static_cast<size_t>(weight.n);
  const float* values = bias->floats + first + columns.begin;
  for (int t = 0; t < n_tokens; ++t) kernels.add(out[t], values, columns.size(), out[t]);
}

}  // namespace edgelm
