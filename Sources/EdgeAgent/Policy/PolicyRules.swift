import FoundationEssentials
import WireFormat

/// The rules of a policy as somebody wrote them, in the file on the node or, to narrow that, on the hub. Every one may be
/// absent; what that means stands at ``Policy``.
struct PolicyRules: Sendable, Equatable {
    /// How far the hub may go in a bot's workspace.
    enum WorkspaceAccess: String, Codable, Sendable, CaseIterable, Comparable {
        case none, read, write

        static func < (one: WorkspaceAccess, other: WorkspaceAccess) -> Bool {
            (allCases.firstIndex(of: one) ?? 0) < (allCases.firstIndex(of: other) ?? 0)
        }
    }

    /// Where symbolic links of a transferred workspace may lead.
    enum LinkReach: String, Codable, Sendable, CaseIterable, Comparable {
        /// To something in the workspace.
        case inside
        /// Also to programs and libraries of the system.
        case system
        /// Anywhere.
        case any

        static func < (one: LinkReach, other: LinkReach) -> Bool {
            (allCases.firstIndex(of: one) ?? 0) < (allCases.firstIndex(of: other) ?? 0)
        }
    }

    var backends: [String]?
    var commands: [CommandRule]?
    var images: [ImageRule]?
    /// Absolute, normalized.
    var directories: [String]?
    var environment: [EnvironmentRule]?
    /// Whether the hub may replace a bot's `config.json`.
    var configuration: Bool?
    var workspace: WorkspaceAccess?
    /// Whether the hub may write files that a launch command runs out of the workspace.
    var workspaceCode: Bool?
    var workspaceLinks: LinkReach?
    var terminal: Bool?
    var exec: Bool?
    var caps = PolicyCaps()

    /// Keys of the file, in the order in which they are shown.
    enum Key: String, CaseIterable, CodingKey {
        case backends, commands, images, directories, environment, configuration, workspace
        case workspaceCode = "workspace_code"
        case workspaceLinks = "workspace_links"
        case terminal, exec, caps
    }

    /// Reads the JSON object of a policy.
    ///
    /// - Throws: `PolicyRefusal` that names the key. A key that is not known is an error: a rule that is passed over would
    ///   be a rule that does not hold.
    init(json: [UInt8]) throws(PolicyRefusal) {
        if let doubled = JSONFault.doubledName(json) {
            throw PolicyRefusal(rule: "policy", message: "the policy says something twice, \(doubled)")
        }
        do {
            self = try OutsideJSON.decode(Document.self, from: json).rules
        } catch let refusal as PolicyRefusal {
            throw refusal
        } catch let error as DecodingError {
            if let fault = JSONFault.describe(json) {
                throw PolicyRefusal(rule: "policy", message: "the policy is not JSON, \(fault)")
            }
            throw Self.refusal(error)
        } catch {
            throw PolicyRefusal(rule: "policy", message: "the policy cannot be read: \(error)")
        }
    }

    init() {}

    /// The rules as a JSON object with every key; `null` where a rule is absent.
    var json: [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // `try?`: texts, numbers and flags always encode.
        return (try? encoder.encode(Document(rules: self))).map(Array.init) ?? Array("{}".utf8)
    }

    private static func refusal(_ error: DecodingError) -> PolicyRefusal {
        let context: DecodingError.Context? =
            switch error {
            case .typeMismatch(_, let context), .valueNotFound(_, let context), .keyNotFound(_, let context),
                .dataCorrupted(let context):
                context
            @unknown default: nil
            }
        let key =
            context?.codingPath.map { $0.intValue.map { "[\($0)]" } ?? $0.stringValue }.joined(separator: ".") ?? ""
        return key.isEmpty
            ? PolicyRefusal(rule: "policy", message: "the policy is no JSON object of rules")
            : PolicyRefusal(rule: key, message: "the policy's rule \(key) has a value of the wrong kind")
    }
}

/// Upper limits; nil: none.
struct PolicyCaps: Sendable, Equatable, Codable {
    /// Bots the node holds.
    var bots: Int?
    /// What one bot may use.
    var memoryBytes: Int?
    /// Of one core; 200 is two cores.
    var cpuPercent: Int?
    var processes: Int?
    var openFiles: Int?
    /// All files of one workspace, and the largest single one, as far as the hub writes them.
    var workspaceBytes: Int?
    var fileBytes: Int?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case bots
        case memoryBytes = "memory_bytes"
        case cpuPercent = "cpu_percent"
        case processes
        case openFiles = "open_files"
        case workspaceBytes = "workspace_bytes"
        case fileBytes = "file_bytes"
    }

    init() {}

    /// The figure and its key, for each cap.
    static let fields: [(key: CodingKeys, path: any WritableKeyPath<PolicyCaps, Int?> & Sendable)] = [
        (.bots, \.bots), (.memoryBytes, \.memoryBytes), (.cpuPercent, \.cpuPercent), (.processes, \.processes),
        (.openFiles, \.openFiles), (.workspaceBytes, \.workspaceBytes), (.fileBytes, \.fileBytes),
    ]

    /// The lower of the two where both have one.
    func lowered(by other: PolicyCaps) -> PolicyCaps {
        var result = self
        for field in Self.fields {
            let values = [self[keyPath: field.path], other[keyPath: field.path]].compactMap(\.self)
            result[keyPath: field.path] = values.min()
        }
        return result
    }

    init(from decoder: any Decoder) throws {
        try AnyKey.requireKnown(decoder, CodingKeys.allCases.map(\.rawValue), in: "caps")
        let container = try decoder.container(keyedBy: CodingKeys.self)
        for field in Self.fields {
            self[keyPath: field.path] = try container.decodeIfPresent(Int.self, forKey: field.key)
            if let value = self[keyPath: field.path], value < 0 {
                throw PolicyRefusal(
                    rule: "caps.\(field.key.rawValue)",
                    message: "caps.\(field.key.rawValue) is \(value); a cap is 0 or more"
                )
            }
        }
    }
}

/// The JSON form.
private struct Document: Codable {
    var rules: PolicyRules

    init(rules: PolicyRules) { self.rules = rules }

    init(from decoder: any Decoder) throws {
        try AnyKey.requireKnown(decoder, PolicyRules.Key.allCases.map(\.rawValue), in: nil)
        let container = try decoder.container(keyedBy: PolicyRules.Key.self)
        func texts(_ key: PolicyRules.Key) throws -> [String]? {
            try container.decodeIfPresent([String].self, forKey: key)
        }
        rules = PolicyRules()
        rules.backends = try texts(.backends)
        if let unknown = rules.backends?.first(where: { !["native", "docker"].contains($0) }) {
            throw PolicyRefusal(rule: "backends", message: "there is no backend \"\(unknown)\"; known: native, docker")
        }
        rules.commands = try texts(.commands)?.map(CommandRule.init)
        rules.images = try texts(.images)?.map(ImageRule.init)
        rules.directories = try texts(.directories)
        if let odd = rules.directories?.first(where: { !PathText.isPlainAbsolute($0) }) {
            throw PolicyRefusal(
                rule: "directories",
                message: "\"\(odd)\" must be an absolute path below the root, without . and .. and without / at its end"
            )
        }
        rules.environment = try texts(.environment)?.map(EnvironmentRule.init)
        rules.configuration = try container.decodeIfPresent(Bool.self, forKey: .configuration)
        if let text = try container.decodeIfPresent(String.self, forKey: .workspace) {
            guard let access = PolicyRules.WorkspaceAccess(rawValue: text) else {
                throw PolicyRefusal(rule: "workspace", message: "workspace is none, read or write, not \"\(text)\"")
            }
            rules.workspace = access
        }
        rules.workspaceCode = try container.decodeIfPresent(Bool.self, forKey: .workspaceCode)
        if let text = try container.decodeIfPresent(String.self, forKey: .workspaceLinks) {
            guard let reach = PolicyRules.LinkReach(rawValue: text) else {
                throw PolicyRefusal(
                    rule: "workspace_links",
                    message: "workspace_links is inside, system or any, not \"\(text)\""
                )
            }
            rules.workspaceLinks = reach
        }
        rules.terminal = try container.decodeIfPresent(Bool.self, forKey: .terminal)
        rules.exec = try container.decodeIfPresent(Bool.self, forKey: .exec)
        rules.caps = try container.decodeIfPresent(PolicyCaps.self, forKey: .caps) ?? PolicyCaps()
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: PolicyRules.Key.self)
        try container.encode(rules.backends, forKey: .backends)
        try container.encode(rules.commands?.map(\.text), forKey: .commands)
        try container.encode(rules.images?.map(\.text), forKey: .images)
        try container.encode(rules.directories, forKey: .directories)
        try container.encode(rules.environment?.map(\.text), forKey: .environment)
        try container.encode(rules.configuration, forKey: .configuration)
        try container.encode(rules.workspace, forKey: .workspace)
        try container.encode(rules.workspaceCode, forKey: .workspaceCode)
        try container.encode(rules.workspaceLinks, forKey: .workspaceLinks)
        try container.encode(rules.terminal, forKey: .terminal)
        try container.encode(rules.exec, forKey: .exec)
        try container.encode(rules.caps, forKey: .caps)
    }
}

/// Any key of a JSON object.
private struct AnyKey: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }

    init?(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { return nil }

    static func requireKnown(_ decoder: any Decoder, _ known: [String], in parent: String?) throws {
        let keys = try decoder.container(keyedBy: AnyKey.self).allKeys
        guard let unknown = keys.first(where: { !known.contains($0.stringValue) }) else { return }
        let name = (parent.map { $0 + "." } ?? "") + unknown.stringValue
        throw PolicyRefusal(
            rule: name,
            message: "the policy has the unknown rule \"\(name)\"; known: \(known.joined(separator: ", "))"
        )
    }
}
