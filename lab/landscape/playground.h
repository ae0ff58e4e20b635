#ifndef KUDARI_LAB_LANDSCAPE_PLAYGROUND_H_
#define KUDARI_LAB_LANDSCAPE_PLAYGROUND_H_

#include <string>
#include <string_view>

namespace kudari::lab {

/// Answers a question of the playground's page, JSON for JSON. `ask` is one of
///
///     list      all surfaces; rules, sources and averagers with a field for each option; and
///     styles
///               of lines
///     grid      the picture of `surface`
///     check     whether `optimizer`, the [optimizer] table of a recipe, can be read; an empty
///     object
///               if so
///     run       every step of {surface, start, steps, noise, seed, optimizer}, and `evaluated`,
///     the
///               path of the weights to evaluate, if an averager or the rule has others
///     rate      the learning rate that `kudari landscape` chooses for such a run
///
/// Throws Error with a message for the reader of the page.
std::string PlaygroundAnswer(std::string_view question);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_LANDSCAPE_PLAYGROUND_H_
