// iqdb completion SHELL: the script by which a shell completes the commands and options, made from the tree of them. The
// build runs it, and installs what it prints.
#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "commands.hpp"

namespace iqdb_tool {

namespace {

// An option as a shell needs it.
struct Completed {
  std::vector<std::string> names = {};  // with their dashes
  std::string description = {};
  bool takes_value = false;
  std::string values = {};  // separated by spaces; empty if any text may follow
};

// The values that an option accepts: its check says "{a,b,c}".
std::string values_of(CLI::Option& option) {
  std::string text;
  try {
    text = option.get_validator(0)->get_description();
  } catch (const CLI::OptionNotFound&) {  // it has no check
    return {};
  }
  if (text.size() < 2 || text.front() != '{' || text.back() != '}') {
    return {};
  }
  text = text.substr(1, text.size() - 2);
  std::ranges::replace(text, ',', ' ');
  return text;
}

std::vector<Completed> options_of(CLI::App& command) {
  std::vector<Completed> options;
  for (CLI::Option* const option : command.get_options()) {
    if (option->get_positional()) {
      continue;
    }
    Completed completed{.description = option->get_description(),
                        .takes_value = option->get_expected_min() > 0 && option->get_type_size_max() > 0};
    for (const std::string& name : option->get_snames()) {
      completed.names.push_back("-" + name);
    }
    for (const std::string& name : option->get_lnames()) {
      completed.names.push_back("--" + name);
    }
    if (completed.takes_value) {
      completed.values = values_of(*option);
    }
    options.push_back(std::move(completed));
  }
  return options;
}

std::vector<CLI::App*> commands_of(CLI::App& tree) {
  return tree.get_subcommands([](const CLI::App* command) { return !command->get_group().empty(); });
}

std::string names_of(const std::vector<Completed>& options) {
  std::string names;
  for (const Completed& option : options) {
    for (const std::string& name : option.names) {
      names += (names.empty() ? "" : " ") + name;
    }
  }
  return names;
}

// The options of all commands that take a value, each once.
std::vector<Completed> with_values(CLI::App& tree) {
  std::vector<Completed> found = options_of(tree);
  for (CLI::App* const command : commands_of(tree)) {
    for (Completed& option : options_of(*command)) {
      if (std::ranges::none_of(found, [&](const Completed& other) { return other.names == option.names; })) {
        found.push_back(std::move(option));
      }
    }
  }
  std::erase_if(found, [](const Completed& option) { return !option.takes_value; });
  return found;
}

std::string bash_script(CLI::App& tree) {
  std::string commands;
  std::string cases;
  for (CLI::App* const command : commands_of(tree)) {
    commands += (commands.empty() ? "" : " ") + command->get_name();
    cases += "    " + command->get_name() + ") options='" + names_of(options_of(*command)) + "' ;;\n";
  }
  std::string values;
  for (const Completed& option : with_values(tree)) {
    std::string pattern;
    for (const std::string& name : option.names) {
      pattern += (pattern.empty() ? "" : "|") + name;
    }
    values += "    " + pattern + ") COMPREPLY=($(compgen -W '" + option.values + "' -- \"$word\")); return ;;\n";
  }
  return "# Completes iqdb in bash. Made by: iqdb completion bash\n"
         "_iqdb() {\n"
         "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command= options= at\n"
         "  COMPREPLY=()\n"
         "  for ((at = 1; at < COMP_CWORD; at++)); do\n"
         "    if [[ ${COMP_WORDS[at]} != -* && ${COMP_WORDS[at-1]} != --color ]]; then\n"
         "      command=${COMP_WORDS[at]}\n"
         "      break\n"
         "    fi\n"
         "  done\n"
         "  case $before in\n" +
         values +
         "  esac\n"
         "  case $command in\n" +
         cases + "    '') options='" + names_of(options_of(tree)) +
         "' ;;\n"
         "  esac\n"
         "  if [[ $word == -* ]]; then\n"
         "    COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
         "  elif [[ -z $command ]]; then\n"
         "    COMPREPLY=($(compgen -W '" +
         commands +
         "' -- \"$word\"))\n"
         "  else\n"
         "    COMPREPLY=($(compgen -f -- \"$word\"))\n"
         "  fi\n"
         "}\n"
         "complete -o filenames -F _iqdb iqdb\n";
}

// Text between single quotes, within which _arguments and _describe take some characters for themselves.
std::string zsh_text(std::string_view text) {
  std::string out;
  for (const char character : text) {
    if (character == '\'') {
      out += "'\\''";
    } else {
      out += character == '[' || character == ']' || character == ':' ? std::string("\\") + character
                                                                      : std::string(1, character);
    }
  }
  return out;
}

std::string zsh_arguments(const std::vector<Completed>& options) {
  std::string lines;
  for (const Completed& option : options) {
    for (const std::string& name : option.names) {
      const std::string value =
          !option.takes_value ? "" : ":value:" + (option.values.empty() ? " " : "(" + option.values + ")");
      lines += " \\\n        '" + name + "[" + zsh_text(option.description) + "]" + value + "'";
    }
  }
  return lines;
}

std::string zsh_script(CLI::App& tree) {
  std::string described;
  std::string cases;
  for (CLI::App* const command : commands_of(tree)) {
    described += "    '" + command->get_name() + ":" + zsh_text(command->get_description()) + "'\n";
    cases += "      " + command->get_name() + ")\n        _arguments" + zsh_arguments(options_of(*command)) +
             " \\\n        '*:file:_files'\n        ;;\n";
  }
  return "#compdef iqdb\n"
         "# Completes iqdb in zsh. Made by: iqdb completion zsh\n"
         "_iqdb() {\n"
         "  local -a commands\n"
         "  local context state state_descr line\n"
         "  typeset -A opt_args\n"
         "  commands=(\n" +
         described +
         "  )\n"
         "  _arguments -C" +
         zsh_arguments(options_of(tree)) +
         " \\\n        '1:command:->command' '*::argument:->argument'\n"
         "  case $state in\n"
         "    command) _describe command commands ;;\n"
         "    argument)\n"
         "      case $words[1] in\n" +
         cases +
         "      esac\n"
         "      ;;\n"
         "  esac\n"
         "}\n"
         "_iqdb \"$@\"\n";
}

}  // namespace

void add_completion(Program& program) {
  auto shell = std::make_shared<std::string>();
  CLI::App& command = program.add(
      "completion", "Print the script by which a shell completes commands and options", [shell, &program](Output& out) {
        const std::string script = *shell == "bash" ? bash_script(program.tree()) : zsh_script(program.tree());
        if (out.json()) {
          out.document({{"shell", *shell}, {"script", script}});
        } else {
          out.line(script.substr(0, script.size() - 1));
        }
        return ExitCode::fine;
      });
  command.group("");  // those who install it know it
  command.add_option("shell", *shell, "bash or zsh")->required()->check(CLI::IsMember({"bash", "zsh"}));
}

}  // namespace iqdb_tool
