// A sequence of pictures as one file: through ffmpeg when it is there, else as numbered PNG files.
#pragma once
#include <cstdio>
#include <string>

#include "support/image.h"

namespace demo {

class Animation {
 public:
  /// `path` without an extension; the file becomes path.mp4, or path/0000.png, ... without ffmpeg. Sizes must be even.
  Animation(std::string path, int width, int height, int frames_a_second = 30);
  ~Animation();
  Animation(const Animation&) = delete;
  Animation& operator=(const Animation&) = delete;

  void add(const Image& frame);
  /// Ends the file; returns what to show the user. Throws std::runtime_error when ffmpeg failed.
  std::string finish();

 private:
  std::string path_;
  int width_, height_, frames_ = 0;
  std::FILE* pipe_ = nullptr;
};

}  // namespace demo
