#include "commands/svg_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "text/unicode.h"

namespace setrl::commands {

namespace {

constexpr double kWidth = 440, kHeight = 280;
constexpr double kLeft = 58, kRight = 14, kTop = 48, kBottom = 44;
constexpr double kLargestDot = 7;  // radius

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  void add(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
};

// Distance of ticks: 1, 2 or 5 times a power of ten, for about five of them.
double tick_distance(const Range& range) {
  const double raw = (range.high - range.low) / 5;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (raw <= factor * power * 1.0001) return factor * power;
  }
  return 10 * power;
}

std::string tick_label(double value, double distance) {
  if (std::abs(value) < distance * 1e-6) return "0";
  if (std::abs(value) >= 1e5 || distance < 1e-4) return fmt::format("{:.3g}", value);
  const int decimals = std::max(0, static_cast<int>(-std::floor(std::log10(distance) + 1e-9)));
  return fmt::format("{:.{}f}", value, decimals);
}

class Plot {
 public:
  explicit Plot(const Chart& chart) : chart_(chart) {
    for (const auto& series : chart.series) {
      for (const auto& [x, y] : series.points) {
        if (!std::isfinite(x) || !std::isfinite(y)) continue;
        x_.add(x);
        y_.add(y);
        if (!series.bars) continue;
        y_.add(0);
        x_.add(x - bar_step(series) / 2);
        x_.add(x + bar_step(series) / 2);
      }
      for (const auto& [low, high] : series.band) {
        y_.add(low);
        y_.add(high);
      }
    }
    widen(x_, chart.x_low, chart.x_high, 0);
    widen(y_, chart.y_low, chart.y_high, 0.05);
  }

  std::string draw() {
    text_ = fmt::format(
        "<svg viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" role=\"img\">"
        "<text x=\"{2}\" y=\"18\" class=\"title\">{3}</text>",
        kWidth, kHeight, kLeft, html_escape(chart_.title));
    if (x_.empty() || y_.empty()) {
      return text_ + fmt::format("<text x=\"{}\" y=\"{}\">no data</text></svg>", kWidth / 2, kHeight / 2);
    }
    axes();
    if (chart_.diagonal) line({{low_of_both(), low_of_both()}, {high_of_both(), high_of_both()}}, "#888", "4 4", 1);
    for (const auto& series : chart_.series) draw_series(series);
    legend();
    return text_ + "</svg>";
  }

 private:
  static void widen(Range& range, std::optional<double> low, std::optional<double> high, double margin) {
    if (low) range.low = *low;
    if (high) range.high = *high;
    if (range.empty()) return;
    if (range.high - range.low < 1e-12 * std::max(1.0, std::abs(range.high))) {
      const double half = std::max(0.5, std::abs(range.high) * 0.05);
      range = {range.low - half, range.high + half};
    }
    const double extra = margin * (range.high - range.low);
    if (!low) range.low -= extra;
    if (!high) range.high += extra;
  }

  double low_of_both() const { return std::max(x_.low, y_.low); }
  double high_of_both() const { return std::min(x_.high, y_.high); }
  double px(double x) const { return kLeft + (x - x_.low) / (x_.high - x_.low) * (kWidth - kLeft - kRight); }
  double py(double y) const {
    return kHeight - kBottom - (y - y_.low) / (y_.high - y_.low) * (kHeight - kTop - kBottom);
  }

  void axes() {
    const double bottom = kHeight - kBottom, right = kWidth - kRight;
    const double dx = tick_distance(x_), dy = tick_distance(y_);
    for (double y = std::ceil(y_.low / dy) * dy; y <= y_.high + dy * 1e-6; y += dy) {
      text_ += fmt::format(
          "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" class=\"grid\"/>"
          "<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"tick\" text-anchor=\"end\">{}</text>",
          kLeft, py(y), right, py(y), kLeft - 6, py(y) + 4, tick_label(y, dy));
    }
    for (double x = std::ceil(x_.low / dx) * dx; x <= x_.high + dx * 1e-6; x += dx) {
      text_ += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"tick\" text-anchor=\"middle\">{}</text>", px(x),
                           bottom + 16, tick_label(x, dx));
    }
    text_ += fmt::format(
        "<line x1=\"{0}\" y1=\"{1}\" x2=\"{2}\" y2=\"{1}\" class=\"axis\"/>"
        "<text x=\"{3:.1f}\" y=\"{4:.1f}\" class=\"label\" text-anchor=\"middle\">{5}</text>"
        "<text transform=\"translate(14 {6:.1f}) rotate(-90)\" class=\"label\" text-anchor=\"middle\">{7}</text>",
        kLeft, bottom, right, (kLeft + right) / 2, kHeight - 8, html_escape(chart_.x_label), (kTop + bottom) / 2,
        html_escape(chart_.y_label));
  }

  void line(const std::vector<std::pair<double, double>>& points, const std::string& colour, const char* dashes,
            double width) {
    std::string path;
    bool pen = false;
    for (const auto& [x, y] : points) {
      if (!std::isfinite(x) || !std::isfinite(y)) {
        pen = false;
        continue;
      }
      path += fmt::format("{}{:.1f} {:.1f}", pen ? "L" : "M", px(x), py(std::clamp(y, y_.low, y_.high)));
      pen = true;
    }
    text_ += fmt::format(
        "<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-dasharray=\"{}\" "
        "stroke-linejoin=\"round\"/>",
        path, colour, width, dashes);
  }

  void band(const ChartSeries& series) {
    std::string there, back;
    for (std::size_t i = 0; i < series.band.size() && i < series.points.size(); ++i) {
      const auto [low, high] = series.band[i];
      const double x = series.points[i].first;
      if (!std::isfinite(low) || !std::isfinite(high) || !std::isfinite(x)) continue;
      there += fmt::format("{:.1f},{:.1f} ", px(x), py(high));
      back = fmt::format("{:.1f},{:.1f} ", px(x), py(low)) + back;
    }
    text_ += fmt::format("<polygon points=\"{}{}\" fill=\"{}\" opacity=\"0.15\"/>", there, back, series.colour);
  }

  void draw_series(const ChartSeries& series) {
    if (!series.band.empty()) band(series);
    if (series.bars) {
      const double width = 0.8 * (kWidth - kLeft - kRight) / std::max<double>(1, (x_.high - x_.low) / bar_step(series));
      for (const auto& [x, y] : series.points) {
        if (!std::isfinite(y)) continue;
        text_ += fmt::format(
            "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\" opacity=\"0.55\"/>",
            px(x) - width / 2, py(y), width, py(std::max(0.0, y_.low)) - py(y), series.colour);
      }
      return;
    }
    line(series.points, series.colour, "none", 1.8);
    if (series.weights.empty()) return;
    const auto [least, most] = std::minmax_element(series.weights.begin(), series.weights.end());
    for (std::size_t i = 0; i < series.points.size() && i < series.weights.size(); ++i) {
      const auto [x, y] = series.points[i];
      if (!std::isfinite(x) || !std::isfinite(y)) continue;
      text_ += fmt::format(
          "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\" fill=\"{}\" opacity=\"0.8\"/>", px(x), py(y),
          *most > *least ? std::max(1.5, kLargestDot * std::sqrt(series.weights[i] / *most)) : 2.5, series.colour);
    }
  }

  static double bar_step(const ChartSeries& series) {
    double step = std::numeric_limits<double>::infinity();
    for (std::size_t i = 1; i < series.points.size(); ++i) {
      step = std::min(step, std::abs(series.points[i].first - series.points[i - 1].first));
    }
    return std::isfinite(step) && step > 0 ? step : 1;
  }

  void legend() {
    if (chart_.series.size() < 2) return;
    constexpr double kCharacter = 6, kGap = 34;  // about the width of a letter of 11 pixels
    double x = kLeft;
    for (const auto& series : chart_.series) {
      text_ += fmt::format(
          "<rect x=\"{}\" y=\"30\" width=\"14\" height=\"4\" fill=\"{}\"/><text x=\"{}\" y=\"36\" "
          "class=\"tick\">{}</text>",
          x, series.colour, x + 19, html_escape(series.label));
      x += kGap + kCharacter * static_cast<double>(series.label.size());
    }
  }

  const Chart& chart_;
  Range x_, y_;
  std::string text_;
};

}  // namespace

std::string svg_chart(const Chart& chart) {
  return Plot(chart).draw();
}

std::string html_escape(const std::string& text) {
  std::string result;
  for (const char c : text::valid_utf8(text)) {
    switch (c) {
      case '&': result += "&amp;"; break;
      case '<': result += "&lt;"; break;
      case '>': result += "&gt;"; break;
      case '"': result += "&quot;"; break;
      default: result += c;
    }
  }
  return result;
}

}  // namespace setrl::commands
