#ifndef KUDARI_LAB_LANDSCAPE_PLAYGROUND_H_
#define KUDARI_LAB_LANDSCAPE_PLAYGROUND_H_

#include <string>
#include <string_view>

namespace kudari::lab {

/// Answers a question of the playground's page, JSON for JSON. `ask` is one of
///
///     list      all surfaces, rules with their options, and styles of lines
///     grid      the picture of `surface`
///     option    whether `text`, a number or a schedule, suits `option` of `rule`; an empty object
///               if it does
///     rho       the same for `rho`, the radius of SAM; 0 is without SAM
///     run       every step of {surface, start, steps, noise, seed, rule, options, rho}, where
///               `options` are texts by name, and rho is one
///     rate      the learning rate that `kudari landscape` chooses for such a run
///
/// Throws Error with a message for the reader of the page.
std::string PlaygroundAnswer(std::string_view question);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_LANDSCAPE_PLAYGROUND_H_
