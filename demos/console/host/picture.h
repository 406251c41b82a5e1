// Plots as PNG files.
#pragma once
#include <string>
#include <vector>

namespace fluxion::console {

// Both throw std::runtime_error where the file cannot be written.
void write_curve(const std::vector<double>& y, const std::string& name, const std::string& file);
/// Row by row, with the numbers of the first and last rows and columns, and what the colours stand for.
void write_picture(const std::vector<double>& values, int rows, int columns, const std::string& name, const std::string& file);

}  // namespace fluxion::console
