import ArgumentParser
import Foundation

/// How a command finds the hub and proves who asks.
struct HubAccess: ParsableArguments {
    @Option(help: "The hub's URL. (environment: HUB_URL; default: the hub that serves on this machine)")
    var url: String?

    @Option(help: "An operator's token. Others see it in `ps`; better in a file, or in HUB_TOKEN.")
    var token: String?

    @Option(help: "File that holds an operator's token. (environment: HUB_TOKEN_FILE)", completion: .file())
    var tokenFile: String?

    @Option(
        help: "Trust the authority in this PEM file, and not the system's. (environment: HUB_CA_FILE)",
        completion: .file()
    )
    var caFile: String?

    @Option(
        name: .customLong("pin-sha256"),
        help:
            "Ask for this key: the SHA-256 of the certificate's SPKI, in hexadecimal or Base64. (environment: HUB_PIN_SHA256)"
    )
    var pinSHA256: String?

    @Flag(help: "Allow http:// to another machine: the token goes in the clear.")
    var insecure = false

    @OptionGroup var common: CommonOptions

    @Flag(help: "Print JSON.")
    var json = false

    /// The hub that is meant. Flags win over variables; `--data-dir` and `--config` are flags, too, and mean this machine.
    ///
    /// - Returns: nil where the command is to work on the data directory.
    func remote(_ environment: [String: String]) throws -> HubClient.Place? {
        func variable(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
        let isHere = common.dataDir != nil || common.config != nil
        guard let url = url ?? (isHere ? nil : variable("HUB_URL")) else {
            guard [token, tokenFile, caFile, pinSHA256].allSatisfy({ $0 == nil }) else {
                throw StartFailure(
                    .usage,
                    "--token, --token-file, --ca-file and --pin-sha256 are for a hub elsewhere. Name it with --url."
                )
            }
            return nil
        }
        guard !isHere else {
            throw StartFailure(
                .usage,
                "--url means a hub elsewhere, --data-dir and --config the one here. Give one of them."
            )
        }
        let scheme = url.prefix { $0 != ":" }.lowercased()
        guard ["http", "https"].contains(scheme), url.dropFirst(scheme.count).hasPrefix("://") else {
            throw StartFailure(.usage, "\(url) is no URL of a hub. It looks like https://hub.example.")
        }
        var trust = HubClient.Trust()
        trust.caFile = caFile ?? variable("HUB_CA_FILE")
        trust.pinSHA256 = pinSHA256 ?? variable("HUB_PIN_SHA256")
        trust.allowsInsecure = insecure
        trust.environment = environment
        return .remote(url: url, token: try token(variable), trust)
    }

    private func token(_ variable: (String) -> String?) throws -> String {
        if let token { return token }
        if let tokenFile { return try Self.read(tokenFile) }
        if let token = variable("HUB_TOKEN") { return token }
        if let file = variable("HUB_TOKEN_FILE") { return try Self.read(file) }
        throw StartFailure(
            .usage,
            "a token is needed: --token-file FILE, or HUB_TOKEN. `control-hub operator add NAME --role ROLE` on the hub's "
                + "machine makes one, and so does \"Settings\" in the dashboard."
        )
    }

    private static func read(_ file: String) throws -> String {
        guard let data = NamedFile.read(file) else {
            throw StartFailure(.noInput, "the token file \(file) cannot be read. Check its name and its mode.")
        }
        let token = String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        guard !token.isEmpty, token.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw StartFailure(.dataError, "\(file) does not hold a token: one line of printable characters.")
        }
        return token
    }

    /// Calls `body` with a client, and lets that go whatever comes of it.
    func withClient(_ body: (HubClient) async throws -> Void) async throws {
        let environment = ProcessInfo.processInfo.environment
        let place =
            try remote(environment) ?? .local(directory: try common.read(common.flags).dataDirectory)
        let client = try HubClient(place)
        defer { client.close() }
        try await body(client)
    }
}

/// A node that is named, and the hub that knows it.
struct NodeArgument: ParsableArguments {
    @OptionGroup var access: HubAccess
    @Argument(help: "Name or id of the node.", completion: Suggestions.nodes) var node: String

    /// Calls `body` with a client and the address of the node in the API.
    func withNode(_ body: (HubClient, String) async throws -> Void) async throws {
        try await access.withClient { client in
            try await body(client, "/api/nodes/\(HubClient.escaped(try await Named.node(node, client)))")
        }
    }
}

/// A bot that is named, and the hub that knows it.
struct BotArgument: ParsableArguments {
    @OptionGroup var access: HubAccess
    @Argument(help: "Name or id of the bot.", completion: Suggestions.bots) var bot: String

    /// Calls `body` with a client and the address of the bot in the API.
    func withBot(_ body: (HubClient, String) async throws -> Void) async throws {
        try await access.withClient { client in
            try await body(client, "/api/bots/\(HubClient.escaped(try await Named.bot(bot, client)))")
        }
    }
}

/// Finds what a person means by a name or an id.
enum Named {
    /// Names in an error; more help nobody.
    private static let maximumNames = 20

    /// A node's id.
    static func node(_ wanted: String, _ client: HubClient) async throws -> String {
        let search = wanted.hasPrefix("node_") ? nil : wanted
        let items = try await client.all(HubClient.path("/api/nodes", query: ["search": search]))
        if let found = match(wanted, items) { return found }
        let known = try await client.all("/api/nodes", limit: maximumNames)
        throw unknown(wanted, kind: "node", known)
    }

    /// A bot's id.
    static func bot(_ wanted: String, _ client: HubClient) async throws -> String {
        let items = try await client.all("/api/bots")
        guard let found = match(wanted, items) else { throw unknown(wanted, kind: "bot", items) }
        return found
    }

    /// Names of all nodes by their ids.
    static func nodes(_ client: HubClient) async throws -> [String: String] {
        try await client.all("/api/nodes").reduce(into: [:]) { names, node in
            if let id = node["id"]?.stringValue { names[id] = node["name"]?.stringValue }
        }
    }

    private static func match(_ wanted: String, _ items: [JSONValue]) -> String? {
        (items.first { $0["id"]?.stringValue == wanted } ?? items.first { $0["name"]?.stringValue == wanted })?["id"]?
            .stringValue
    }

    private static func unknown(_ wanted: String, kind: String, _ known: [JSONValue]) -> StartFailure {
        let names = known.compactMap { $0["name"]?.stringValue }.prefix(maximumNames)
        let more = known.count > names.count ? ", …" : ""
        return StartFailure(
            .notFound,
            "there is no \(kind) \(wanted). "
                + (names.isEmpty ? "There is none at all yet." : "There are: \(names.joined(separator: ", "))\(more).")
        )
    }
}
