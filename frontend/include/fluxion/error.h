// The errors a user may meet. Each message says what is wrong, the values, and what to do.
#pragma once
#include <stdexcept>
#include <string>

#include "fluxion/type.h"

namespace fluxion {

class FLUXION_API Error : public std::runtime_error {
 public:
  Error(Loc at, const std::string& what);
  Loc where() const { return at_; }

 private:
  Loc at_;
};
/// The user's kernel, or what was asked of it, is wrong.
class FLUXION_API KernelError : public Error {
  using Error::Error;
};
class FLUXION_API ShapeError : public Error {
  using Error::Error;
};
class FLUXION_API DeviceError : public Error {
  using Error::Error;
};
class FLUXION_API IoError : public Error {
  using Error::Error;
};
/// A mistake of ours; carries the IR around the node where one is known.
class FLUXION_API Bug : public Error {
  using Error::Error;
};

/// "file.cpp:12" with the directories dropped, or "" where nothing is known.
FLUXION_API std::string to_string(Loc at);

}  // namespace fluxion
