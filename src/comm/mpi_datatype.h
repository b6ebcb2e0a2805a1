// MPI data types for sizes beyond int. Internal to comm.
#pragma once

#include <mpi.h>

#include <cstddef>

namespace setrl::comm {

// A committed data type, freed with its owner. Move-only.
class OwnedType {
 public:
  OwnedType() = default;
  explicit OwnedType(MPI_Datatype type) : type_(type) {}
  OwnedType(OwnedType&& other) noexcept;
  OwnedType& operator=(OwnedType&& other) = delete;
  ~OwnedType();
  MPI_Datatype get() const { return type_; }

 private:
  MPI_Datatype type_ = MPI_DATATYPE_NULL;
};

// `bytes` contiguous bytes whose next instance starts `stride` bytes further: one rank's piece in an array of all
// ranks. `bytes` fits an int.
OwnedType strided_piece(std::size_t bytes, std::size_t stride);

// A message of any size as (count, type): plain bytes up to `piece_bytes`, one instance of a larger type beyond.
class WideBytes {
 public:
  WideBytes(std::size_t bytes, std::size_t piece_bytes);
  int count() const { return count_; }
  MPI_Datatype type() const { return count_ == 1 && wide_.get() != MPI_DATATYPE_NULL ? wide_.get() : MPI_BYTE; }

 private:
  int count_ = 0;
  OwnedType wide_;
};

}  // namespace setrl::comm
