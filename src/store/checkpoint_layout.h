// How a checkpoint's slices lie in files. docs/checkpoint_format.md ("One shared file") compares the two.
#pragma once

#include <string>

namespace setrl::store {

enum class Layout {
  per_rank,  // rank-NNNN.h5, one a learner rank
  shared,    // shared.h5, written by all of them together
};

// "per_rank" or "shared".
Layout layout_of(const std::string& name);
std::string to_string(Layout layout);

// Why a program cannot write checkpoints of the layout, with what to do about it; "" where it can. Every program reads
// both. `parallel_hdf5`: it is linked to HDF5's parallel build; `many_threads`: MPI lets several threads in.
std::string obstacle(Layout layout, bool parallel_hdf5, bool many_threads);

// Throws UserError where this program has an obstacle. MPI must be up where the layout is shared.
void check_layout(Layout layout);

}  // namespace setrl::store
