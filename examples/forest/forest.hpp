// A forest of random-projection trees, in the manner of Annoy: an approximate index of vectors that lives in memory.
//
// Each inner node of a tree is the plane that lies between two random vectors of its subset. A leaf holds items. A search
// walks through all trees at once, nearest side first, and compares what it finds exactly.
//
// This header stands for a library of somebody else: it knows items by their numbers only, and nothing of files.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <queue>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

namespace forest {

/// The number of a vector. The numbers should be small: room is made for all numbers below the largest.
using Item = std::uint32_t;

/// An item that a search has found, and how far it is from the query.
struct Neighbour {
  Item item;
  double distance;
  friend bool operator<(const Neighbour& a, const Neighbour& b) {
    return std::pair(a.distance, a.item) < std::pair(b.distance, b.item);
  }
};

/// The vectors of all items, one behind the other.
struct Rows {
  std::size_t dim;
  std::vector<float> values = {};
  [[nodiscard]] std::size_t size() const { return values.size() / dim; }
  [[nodiscard]] std::span<const float> operator[](Item item) const {
    return std::span(values).subspan(std::size_t{item} * dim, dim);
  }
};

/// A plane with two children, or a leaf with items, which has no `normal`.
struct Node {
  std::vector<float> normal = {};
  double offset = 0;
  std::uint32_t left = 0;  // numbers of nodes that lie behind this one
  std::uint32_t right = 0;
  std::vector<Item> items = {};

  [[nodiscard]] bool is_leaf() const { return normal.empty(); }
  /// How far `vector` is from the plane: positive on the right side.
  [[nodiscard]] double margin(std::span<const float> vector) const {
    double sum = -offset;
    for (std::size_t i = 0; i < normal.size(); ++i) {
      sum += double{normal[i]} * double{vector[i]};
    }
    return sum;
  }
};

/// One tree. Node 0 is the root.
class Tree {
 public:
  static constexpr std::size_t leaf_items = 32;
  static constexpr std::uint32_t nowhere = std::numeric_limits<std::uint32_t>::max();

  /// What an `add` has changed.
  struct Undo {
    Item item;
    std::uint32_t leaf;
    std::size_t nodes;
    std::uint64_t random;
    std::vector<Item> items;
  };

  explicit Tree(std::uint64_t seed) : random_(seed), nodes_(1) {}

  /// A tree as it was: `random()` and `nodes()` of another one. Throws `std::invalid_argument` if they are no tree of
  /// items of `rows`, whatever they are.
  Tree(std::uint64_t random, std::vector<Node> nodes, const Rows& rows) : random_(random), nodes_(std::move(nodes)) {
    leaf_of_.assign(rows.size(), nowhere);
    std::vector<bool> has_parent(nodes_.size());
    const auto require = [](bool sound) {
      if (!sound) {
        throw std::invalid_argument("the nodes are no tree");
      }
    };
    require(!nodes_.empty() && nodes_.size() < nowhere);
    for (std::uint32_t number = 0; number < nodes_.size(); ++number) {
      const Node& node = nodes_[number];
      require(number == 0 || has_parent[number]);  // a parent lies in front of its children: there is no circle
      if (!node.is_leaf()) {
        require(node.items.empty() && node.normal.size() == rows.dim && std::isfinite(node.offset));
        require(std::ranges::all_of(node.normal, [](float x) { return std::isfinite(x); }));
        for (const std::uint32_t child : {node.left, node.right}) {
          require(child > number && child < nodes_.size() && !has_parent[child]);
          has_parent[child] = true;
        }
      }
      for (const Item item : node.items) {
        require(item < leaf_of_.size() && leaf_of_[item] == nowhere);
        leaf_of_[item] = number;
      }
    }
  }

  [[nodiscard]] const std::vector<Node>& nodes() const { return nodes_; }
  [[nodiscard]] std::uint64_t random() const { return random_; }
  [[nodiscard]] bool contains(Item item) const { return item < leaf_of_.size() && leaf_of_[item] != nowhere; }

  /// Adds an item, or throws and changes nothing.
  [[nodiscard]] Undo add(Item item, const Rows& rows) {
    if (item >= leaf_of_.size()) {
      leaf_of_.resize(rows.size(), nowhere);
    }
    std::uint32_t leaf = 0;
    while (!nodes_[leaf].is_leaf()) {
      leaf = nodes_[leaf].margin(rows[item]) > 0 ? nodes_[leaf].right : nodes_[leaf].left;
    }
    Undo undo{item, leaf, nodes_.size(), random_, nodes_[leaf].items};
    try {
      nodes_[leaf].items.push_back(item);
      leaf_of_[item] = leaf;
      // A leaf whose items no plane separates grows on. It is tried again each time it has doubled.
      if (const std::size_t size = nodes_[leaf].items.size(); size > leaf_items && std::has_single_bit(size - 1)) {
        split(leaf, rows);
      }
    } catch (...) {
      take_back(undo);
      throw;
    }
    return undo;
  }

  /// Takes back the last `add` that was not taken back.
  void take_back(Undo& undo) noexcept {
    nodes_.erase(nodes_.begin() + static_cast<std::ptrdiff_t>(undo.nodes), nodes_.end());
    nodes_[undo.leaf] = Node{.items = std::move(undo.items)};
    for (const Item item : nodes_[undo.leaf].items) {
      leaf_of_[item] = undo.leaf;
    }
    leaf_of_[undo.item] = nowhere;
    random_ = undo.random;
  }

  /// Precondition: `contains(item)`. The leaf stays, even if nothing is left in it.
  void remove(Item item) noexcept {
    std::vector<Item>& items = nodes_[std::exchange(leaf_of_[item], nowhere)].items;
    *std::ranges::find(items, item) = items.back();
    items.pop_back();
  }

  /// Begins anew. Precondition: no item is left.
  void clear() noexcept {
    nodes_.erase(nodes_.begin() + 1, nodes_.end());
    nodes_.front() = Node{};
  }

 private:
  std::size_t below(std::size_t bound) noexcept {  // splitmix64
    std::uint64_t x = random_ += 0x9E3779B97F4A7C15U;
    x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9U;
    x = (x ^ (x >> 27U)) * 0x94D049BB133111EBU;
    return static_cast<std::size_t>((x ^ (x >> 31U)) % bound);
  }

  /// The plane half way between two random items. Its `normal` is empty if they are at the same place.
  Node plane(const std::vector<Item>& items, const Rows& rows) {
    const std::size_t first = below(items.size());
    const std::size_t second = (first + 1 + below(items.size() - 1)) % items.size();
    const auto a = rows[items[first]];
    const auto b = rows[items[second]];
    double squares = 0;
    for (std::size_t i = 0; i < rows.dim; ++i) {
      squares += (double{b[i]} - double{a[i]}) * (double{b[i]} - double{a[i]});
    }
    Node node;
    if (squares > 0) {
      node.normal.reserve(rows.dim);
      for (std::size_t i = 0; i < rows.dim; ++i) {
        node.normal.push_back(static_cast<float>((double{b[i]} - double{a[i]}) / std::sqrt(squares)));
        node.offset += double{node.normal[i]} * (double{a[i]} + double{b[i]}) / 2;
      }
    }
    return node;
  }

  void split(std::uint32_t leaf, const Rows& rows) {
    std::vector<std::uint32_t> open{leaf};
    while (!open.empty()) {
      const std::uint32_t number = open.back();
      open.pop_back();
      for (int attempt = 0; attempt < 4 && nodes_[number].items.size() > leaf_items; ++attempt) {
        Node inner = plane(nodes_[number].items, rows);
        Node left;
        Node right;
        for (const Item item : nodes_[number].items) {
          (inner.margin(rows[item]) > 0 ? right : left).items.push_back(item);
        }
        if (left.items.empty() || right.items.empty()) {
          continue;
        }
        inner.left = static_cast<std::uint32_t>(nodes_.size());
        inner.right = inner.left + 1;
        for (Node* child : {&left, &right}) {
          open.push_back(static_cast<std::uint32_t>(nodes_.size()));
          for (const Item item : child->items) {
            leaf_of_[item] = open.back();
          }
          nodes_.push_back(std::move(*child));
        }
        nodes_[number] = std::move(inner);
      }
    }
  }

  std::uint64_t random_;
  std::vector<Node> nodes_;
  std::vector<std::uint32_t> leaf_of_ = {};  // of each item: rounding must not decide whether it is found again
};

/// The index: some trees over the same vectors. Distances are Euclidean. Its const members may be called by several
/// threads at once.
class Forest {
 public:
  static constexpr std::size_t most_trees = 64;
  static constexpr std::size_t most_items = std::size_t{1} << 31U;  // a tree has fewer than two nodes for each

  Forest(std::size_t dim, std::size_t trees, std::uint64_t seed) : rows_{dim} {
    for (std::size_t number = 0; number < std::min(trees, most_trees + 1); ++number) {
      trees_.emplace_back(seed + number);
    }
    require_settings();
  }

  /// A forest as it was: `rows()`, and `trees()` made with them. Throws `std::invalid_argument` if it cannot be one.
  Forest(Rows rows, std::vector<Tree> trees) : rows_(std::move(rows)), trees_(std::move(trees)) {
    require_settings();
    if (!is_finite(rows_.values)) {
      throw std::invalid_argument("a component is not a finite number");
    }
    for (Item item = 0; item < rows_.size(); ++item) {
      const auto holds = std::ranges::count_if(trees_, [item](const Tree& tree) { return tree.contains(item); });
      if (holds != 0 && static_cast<std::size_t>(holds) != trees_.size()) {
        throw std::invalid_argument("the trees hold different items");
      }
      size_ += holds != 0 ? 1 : 0;
    }
  }

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t dim() const { return rows_.dim; }
  [[nodiscard]] const Rows& rows() const { return rows_; }
  [[nodiscard]] const std::vector<Tree>& trees() const { return trees_; }
  [[nodiscard]] bool contains(Item item) const { return trees_.front().contains(item); }

  /// Whether a vector or a query can be used.
  [[nodiscard]] static bool is_finite(std::span<const float> vector) {
    return std::ranges::all_of(vector, [](float x) { return std::isfinite(x); });
  }

  /// Adds one or more items, or throws and changes nothing. The vectors lie one behind the other. `each(n, work)` calls `work(0)` to
  /// `work(n - 1)`, in any order and in any threads: the trees grow independently of each other.
  template <typename Each>
  void add(std::span<const Item> items, std::span<const float> vectors, Each each) {
    if (items.empty() || vectors.size() != items.size() * dim() || !is_finite(vectors)) {
      throw std::invalid_argument("a vector that cannot be added");
    }
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (items[i] >= most_items || contains(items[i]) || std::ranges::count(items.first(i), items[i]) != 0) {
        throw std::invalid_argument("an item that cannot be added");
      }
    }
    rows_.values.resize(std::max(rows_.values.size(), (std::size_t{std::ranges::max(items)} + 1) * dim()));
    for (std::size_t i = 0; i < items.size(); ++i) {
      std::ranges::copy(vectors.subspan(i * dim(), dim()), place_of(items[i]).begin());
    }
    std::vector<std::vector<Tree::Undo>> done(trees_.size());
    try {
      each(trees_.size(), [&](std::size_t number) {
        done[number].reserve(items.size());
        for (const Item item : items) {
          done[number].push_back(trees_[number].add(item, rows_));
        }
      });
    } catch (...) {
      for (std::size_t number = 0; number < trees_.size(); ++number) {
        while (!done[number].empty()) {
          trees_[number].take_back(done[number].back());
          done[number].pop_back();
        }
      }
      for (const Item item : items) {
        std::ranges::fill(place_of(item), 0.0F);
      }
      throw;
    }
    size_ += items.size();
  }

  /// Adds one item.
  void add(Item item, std::span<const float> vector) {
    add(std::span(&item, 1), vector, [](std::size_t numbers, const auto& work) {
      for (std::size_t number = 0; number < numbers; ++number) {
        work(number);
      }
    });
  }

  /// Removes an item. Throws `std::invalid_argument`, and changes nothing, if it is not there.
  void remove(Item item) {
    if (!contains(item)) {
      throw std::invalid_argument("no such item");
    }
    --size_;
    for (Tree& tree : trees_) {
      tree.remove(item);
      if (size_ == 0) {
        tree.clear();
      }
    }
    std::ranges::fill(place_of(item), 0.0F);
  }

  /// Returns the `k` nearest of at least `effort` items that `admits(item)` admits, nearest first. It finds `k` if there
  /// are so many. With an effort of `size()` it is exact.
  template <typename Admits>
  [[nodiscard]] std::vector<Neighbour> search(std::span<const float> query, std::size_t k, std::size_t effort,
                                              Admits admits) const {
    if (query.size() != dim() || !is_finite(query)) {
      throw std::invalid_argument("a query that cannot be used");
    }
    struct Branch {
      double margin;  // the smallest on the way: how sure it is that neighbours are here
      const Tree* tree;
      std::uint32_t node;
      bool operator<(const Branch& other) const { return margin < other.margin; }
    };
    std::priority_queue<Branch> branches;
    for (const Tree& tree : trees_) {
      branches.push({std::numeric_limits<double>::infinity(), &tree, 0});
    }
    std::vector<Neighbour> found;
    std::vector<bool> seen(rows_.size());
    while (!branches.empty() && found.size() < std::max(k, effort)) {
      const Branch branch = branches.top();
      branches.pop();
      const Node& node = branch.tree->nodes()[branch.node];
      if (!node.is_leaf()) {
        const double margin = node.margin(query);
        branches.push({std::min(branch.margin, margin), branch.tree, node.right});
        branches.push({std::min(branch.margin, -margin), branch.tree, node.left});
      }
      for (const Item item : node.items) {
        if (!seen[item]) {
          seen[item] = true;
          if (admits(item)) {
            found.push_back({item, distance(query, rows_[item])});
          }
        }
      }
    }
    const auto end = found.begin() + static_cast<std::ptrdiff_t>(std::min(k, found.size()));
    std::partial_sort(found.begin(), end, found.end());
    found.erase(end, found.end());
    return found;
  }

 private:
  void require_settings() const {
    if (rows_.dim == 0 || trees_.empty() || trees_.size() > most_trees || rows_.size() > most_items) {
      throw std::invalid_argument("a forest that cannot be made");
    }
  }

  std::span<float> place_of(Item item) { return std::span(rows_.values).subspan(std::size_t{item} * dim(), dim()); }

  static double distance(std::span<const float> a, std::span<const float> b) {
    double squares = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      squares += (double{a[i]} - double{b[i]}) * (double{a[i]} - double{b[i]});
    }
    return std::sqrt(squares);
  }

  Rows rows_;
  std::vector<Tree> trees_ = {};
  std::size_t size_ = 0;
};

}  // namespace forest
