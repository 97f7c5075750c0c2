/// Which folder may import what: the arrows of docs/architecture.md.
enum ImportRules {
    /// In files under `folder`, the named modules must not be imported, or nothing but the named ones.
    struct Rule: Sendable {
        enum Limit: Sendable {
            case never(Set<String>)
            case only(Set<String>)
        }
        var folder: String
        var limit: Limit
        var reason: String
    }

    static let byFolder: [Rule] = [
        Rule(
            folder: "Sources/EdgeAgent/",
            limit: .never(["Foundation", "GRDB", "NIOSSL", "Crypto", "ControlHub"]),
            reason: "the agent stays small and knows no hub"
        ),
        Rule(
            folder: "Sources/WebSocketKit-Lite/",
            limit: .only([
                "COpenSSL", "CZlib", "CLinux", "Glibc", "Dispatch", "Synchronization", "FoundationEssentials",
            ]),
            reason: "the kit depends on nothing of ours and on no package"
        ),
        Rule(
            folder: "Sources/WireFormat/",
            limit: .only(["SwiftProtobuf", "Synchronization"]),
            reason: "the node protocol is pure"
        ),
        Rule(
            folder: "Sources/ServiceReport/",
            limit: .only(["FoundationEssentials", "Glibc", "Logging"]),
            reason: "both programs start with it"
        ),
        Rule(
            folder: "Sources/ControlHub/",
            limit: .never(["EdgeAgent", "COpenSSL", "CZlib", "CSQLite"]),
            reason: "hub and agent meet only in tests"
        ),
    ]

    /// A module with a home: files elsewhere must not import it.
    struct Home: Sendable {
        var module: String
        var isAt: @Sendable (_ path: String) -> Bool
        var home: String
    }

    static let homes: [Home] = [
        Home(module: "COpenSSL", isAt: { $0.hasPrefix("Sources/WebSocketKit-Lite/TLS/") }, home: "TLS/"),
        Home(module: "CZlib", isAt: { $0.hasPrefix("Sources/WebSocketKit-Lite/Deflate/") }, home: "Deflate/"),
        Home(
            module: "CCurl",
            isAt: { $0.hasPrefix("Sources/EdgeAgent/Runtime/Docker/") },
            home: "Runtime/Docker/"
        ),
        Home(
            module: "CSQLite",
            isAt: { $0.hasPrefix("Sources/EdgeAgent/Journal/") },
            home: "Journal/"
        ),
        Home(
            module: "GRDB",
            isAt: { $0.hasPrefix("Sources/ControlHub/Store/") || $0.hasSuffix("Store.swift") },
            home: "Store/ and …Store.swift"
        ),
    ]

    /// Hummingbird's modules are the hub's edge.
    static let edgeOfHub = ["HTTP/", "Gateway/", "Entry/"].map { "Sources/ControlHub/" + $0 }

    static func violations(in file: SourceFile) -> [Violation] {
        var found: [Violation] = []
        for (module, line) in file.imports {
            for rule in byFolder where file.path.hasPrefix(rule.folder) {
                // SwiftNIO's many modules share one prefix.
                let name = module.hasPrefix("NIO") && rule.folder == "Sources/EdgeAgent/" ? "NIOSSL" : module
                let isAllowed =
                    switch rule.limit {
                    case .never(let modules): !modules.contains(name)
                    case .only(let modules): modules.contains(name)
                    }
                if !isAllowed {
                    found.append(Violation(path: file.path, line: line, message: "imports \(module): \(rule.reason)"))
                }
            }
            for home in homes where home.module == module && !home.isAt(file.path) {
                found.append(
                    Violation(path: file.path, line: line, message: "imports \(module), which belongs to \(home.home)")
                )
            }
            if module.hasPrefix("Hummingbird"), file.path.hasPrefix("Sources/ControlHub/"),
                !edgeOfHub.contains(where: file.path.hasPrefix)
            {
                found.append(
                    Violation(path: file.path, line: line, message: "imports \(module) outside HTTP, Gateway and Entry")
                )
            }
        }
        return found
    }
}
