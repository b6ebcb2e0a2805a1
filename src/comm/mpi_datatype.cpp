#include "comm/mpi_datatype.h"

#include <limits>

#include "base/error.h"
#include "comm/mpi_session.h"

namespace setrl::comm {

namespace {

int to_int(std::size_t value) {
  SETRL_CHECK(value <= static_cast<std::size_t>(std::numeric_limits<int>::max()), "{} does not fit an MPI count",
              value);
  return static_cast<int>(value);
}

OwnedType wide_type(std::size_t bytes, std::size_t piece_bytes) {
  const std::size_t pieces = bytes / piece_bytes;
  MPI_Datatype piece = MPI_DATATYPE_NULL, body = MPI_DATATYPE_NULL, whole = MPI_DATATYPE_NULL;
  check_mpi(MPI_Type_contiguous(to_int(piece_bytes), MPI_BYTE, &piece), "MPI_Type_contiguous");
  check_mpi(MPI_Type_contiguous(to_int(pieces), piece, &body), "MPI_Type_contiguous");
  const int lengths[2] = {1, to_int(bytes % piece_bytes)};
  const MPI_Aint places[2] = {0, static_cast<MPI_Aint>(pieces * piece_bytes)};
  const MPI_Datatype types[2] = {body, MPI_BYTE};
  check_mpi(MPI_Type_create_struct(2, lengths, places, types, &whole), "MPI_Type_create_struct");
  check_mpi(MPI_Type_commit(&whole), "MPI_Type_commit");
  MPI_Type_free(&body);
  MPI_Type_free(&piece);
  return OwnedType(whole);
}

}  // namespace

OwnedType::OwnedType(OwnedType&& other) noexcept : type_(other.type_) {
  other.type_ = MPI_DATATYPE_NULL;
}

OwnedType::~OwnedType() {
  if (type_ != MPI_DATATYPE_NULL) MPI_Type_free(&type_);
}

OwnedType strided_piece(std::size_t bytes, std::size_t stride) {
  MPI_Datatype piece = MPI_DATATYPE_NULL, strided = MPI_DATATYPE_NULL;
  check_mpi(MPI_Type_contiguous(to_int(bytes), MPI_BYTE, &piece), "MPI_Type_contiguous");
  check_mpi(MPI_Type_create_resized(piece, 0, static_cast<MPI_Aint>(stride), &strided), "MPI_Type_create_resized");
  check_mpi(MPI_Type_commit(&strided), "MPI_Type_commit");
  MPI_Type_free(&piece);
  return OwnedType(strided);
}

WideBytes::WideBytes(std::size_t bytes, std::size_t piece_bytes)
    : count_(bytes > piece_bytes ? 1 : to_int(bytes)),
      wide_(bytes > piece_bytes ? wide_type(bytes, piece_bytes) : OwnedType()) {}

}  // namespace setrl::comm
