import ArgumentParser
import Foundation

/// What a shell offers where a node or a bot is to be named: the names that the hub knows.
enum Suggestions {
    static let nodes = names(at: "/api/nodes")
    static let bots = names(at: "/api/bots")

    /// Somebody has pressed Tab and waits.
    private static let patience = Duration.seconds(2)
    private static let maximum = 500

    private static func names(at path: String) -> CompletionKind {
        .custom { words, _, prefix in
            await withTaskGroup(of: [String].self) { group in
                // `try?`: nothing is offered where the hub cannot be asked; the command itself will say why.
                group.addTask { (try? await ask(path, as: access(words))) ?? [] }
                group.addTask {
                    try? await Task.sleep(for: patience)
                    return []
                }
                let first = await group.next() ?? []
                group.cancelAll()
                return first.filter { $0.hasPrefix(prefix) }
            }
        }
    }

    private static func ask(_ path: String, as access: HubAccess) async throws -> [String] {
        var names: [String] = []
        try await access.withClient { client in
            names = try await client.all(path, limit: maximum).compactMap { $0["name"]?.stringValue }
        }
        return names
    }

    /// Which hub is meant, by what stands in the line so far.
    static func access(_ words: [String]) throws -> HubAccess {
        let options: Set = [
            "--url", "--token", "--token-file", "--ca-file", "--pin-sha256", "--config", "--data-dir",
        ]
        var given: [String] = []
        for (word, value) in zip(words, words.dropFirst()) where options.contains(word) { given += [word, value] }
        if words.contains("--insecure") { given.append("--insecure") }
        return try HubAccess.parse(given)
    }
}
