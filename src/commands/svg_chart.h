// Small line and dot charts as inline SVG: no scripts, no outside files.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace setrl::commands {

struct ChartSeries {
  std::string label;   // shown where a chart has several series
  std::string colour;  // CSS
  std::vector<std::pair<double, double>> points;
  std::vector<std::pair<double, double>> band;  // low and high of each point, or empty
  std::vector<double> weights;  // of each point: area of its dot relative to the largest; empty: no dots
  bool bars = false;            // columns from 0 in place of a line
};

struct Chart {
  std::string title, x_label, y_label;
  std::vector<ChartSeries> series;
  std::optional<double> x_low, x_high, y_low, y_high;  // else from the data
  bool diagonal = false;                               // a dashed line y = x
};

// An <svg> element of 440 x 280 pixels. Points that are not finite are left out; a chart without any says "no data".
std::string svg_chart(const Chart& chart);

// Text for HTML: & < > " replaced, and what is no UTF-8.
std::string html_escape(const std::string& text);

}  // namespace setrl::commands
