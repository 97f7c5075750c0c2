/// Rules by which a hub keeps itself back on a node, in the form of the node's own (docs/policy.md). The node decides by
/// them; here only their form is checked, so that a mistake is told to who makes it and not to a log on the node.
enum PolicyNarrowing {
    private enum Kind {
        case texts, flag, access, links, caps
    }

    private static let rules: [String: Kind] = [
        "backends": .texts, "commands": .texts, "images": .texts, "directories": .texts, "environment": .texts,
        "configuration": .flag, "workspace": .access, "workspace_code": .flag, "workspace_links": .links,
        "terminal": .flag, "exec": .flag, "caps": .caps,
    ]

    private static let caps: Set<String> = [
        "bots", "memory_bytes", "cpu_percent", "processes", "open_files", "workspace_bytes", "file_bytes",
    ]

    /// Throws `invalidRequest` that names the rule which a node would not understand.
    static func check(_ rules: [String: JSONValue]) throws {
        for (name, value) in rules {
            guard let kind = Self.rules[name] else {
                let known = Self.rules.keys.sorted().joined(separator: ", ")
                throw HubError(.invalidRequest, "There is no rule `\(name)`. There are: \(known).")
            }
            guard value == .null || fits(value, kind) else {
                throw HubError(.invalidRequest, "The rule `\(name)` must be \(words(kind)).")
            }
        }
    }

    private static func fits(_ value: JSONValue, _ kind: Kind) -> Bool {
        switch (kind, value) {
        case (.texts, .array(let items)): items.count <= 1000 && items.allSatisfy { $0.stringValue != nil }
        case (.flag, .bool): true
        case (.access, .string(let word)): ["none", "read", "write"].contains(word)
        case (.links, .string(let word)): ["inside", "system", "any"].contains(word)
        case (.caps, .object(let members)):
            members.allSatisfy { name, value in
                guard caps.contains(name) else { return false }
                if case .integer(let cap) = value { return cap >= 0 }
                return value == .null
            }
        default: false
        }
    }

    private static func words(_ kind: Kind) -> String {
        switch kind {
        case .texts: "a list of texts"
        case .flag: "true or false"
        case .access: "none, read or write"
        case .links: "inside, system or any"
        case .caps: "an object with whole numbers, 0 or more: \(caps.sorted().joined(separator: ", "))"
        }
    }
}
