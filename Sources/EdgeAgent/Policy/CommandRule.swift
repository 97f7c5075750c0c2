/// A launch command that a policy allows: `/opt/bot/run --config {config} *`.
///
/// Compared word by word with the profile's template, before anything is filled in. A last word `*` stands for any
/// further arguments; nothing else is a pattern. The program is an absolute path.
struct CommandRule: Sendable, Equatable {
    /// As written.
    let text: String
    let words: [String]
    let takesMore: Bool

    /// - Throws: `PolicyRefusal` with the rule `commands` where the text is no such command.
    init(_ text: String) throws(PolicyRefusal) {
        func broken(_ why: String) -> PolicyRefusal {
            PolicyRefusal(rule: "commands", message: "the command \"\(text)\" in the policy \(why)")
        }
        var words: [String]
        do {
            words = try CommandTemplate(parsing: text).words
        } catch {
            throw broken("cannot be read: \(error.message)")
        }
        takesMore = words.count > 1 && words.last == "*"
        if takesMore { words.removeLast() }
        guard let program = words.first, PathText.isPlainAbsolute(program) else {
            throw broken("must begin with a program's absolute path, without . and .. in it")
        }
        self.text = text
        self.words = words
    }

    /// - Parameters:
    ///   - command: the template's words.
    ///   - program: where its program was found; the first word may be a bare name.
    func allows(_ command: [String], program: String) -> Bool {
        guard program == words[0], command.count >= words.count else { return false }
        guard command.dropFirst().starts(with: words.dropFirst()) else { return false }
        return takesMore || command.count == words.count
    }
}

/// Paths as texts, without asking the file system.
enum PathText {
    /// Absolute, without empty, `.` and `..` components and without a slash at its end.
    static func isPlainAbsolute(_ path: String) -> Bool {
        guard path.hasPrefix("/"), path.utf8.count > 1, !path.utf8.contains(0) else { return false }
        return path.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
            .allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." }
    }

    /// The path without `.`, `..` and double slashes; `..` above the root stays at the root.
    static func normalized(_ path: String) -> String {
        var parts: [Substring] = []
        for part in path.split(separator: "/") where part != "." {
            if part == ".." { _ = parts.popLast() } else { parts.append(part) }
        }
        return "/" + parts.joined(separator: "/")
    }

    /// Whether `path` is `directory` or lies below it. Both are normalized; compared by component, so that `/srv/bots2`
    /// is not below `/srv/bots`.
    static func isInside(_ path: String, _ directory: String) -> Bool {
        directory == "/" || path == directory || path.hasPrefix(directory + "/")
    }
}
