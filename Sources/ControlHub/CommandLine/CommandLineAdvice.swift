/// What the hub advises, which is written for callers of its API, in the words of this program.
///
/// One table for everything that a command shows of what the hub says. What has no command is left as it is.
enum CommandLineAdvice {
    static func translated(_ text: String) -> String {
        var text = text.replacing(#/(GET|POST|PUT|PATCH|DELETE) /api/([A-Za-z0-9_/{}.-]*[A-Za-z0-9_}])( \{[^}]*\})?/#) {
            match in
            let parts = match.2.split(separator: "/").map(String.init)
            return command(String(match.1), parts).map { "`\($0)`" } ?? String(match.0)
        }
        for (member, option) in options { text = text.replacing("`\(member)`", with: "`\(option)`") }
        // The call may have stood between such marks.
        return text.replacing("``", with: "`")
    }

    /// Members of requests that are options here.
    private static let options = [
        ("force", "--force"), ("image", "--image"), ("runtime_profile", "--profile"), ("node_id", "--node"),
        ("dry_run", "--dry-run"), ("keep_workspace", "--keep-workspace"), ("stop_bots", "--stop-bots"),
    ]

    /// - Parameter parts: of the path below `/api/`.
    private static func command(_ method: String, _ parts: [String]) -> String? {
        func named(_ index: Int, or placeholder: String) -> String {
            parts[index].hasPrefix("{") ? placeholder : parts[index]
        }
        let words: String
        switch (method, parts.first, parts.count, parts.last) {
        case ("GET", "nodes", 1, _): words = "nodes"
        case ("GET", "bots", 1, _): words = "bots"
        case ("GET", "commands", 1, _): words = "commands"
        case ("GET", "operators", 1, _): words = "operator list"
        case ("GET", "enrollments", 1, _): words = "enrollment list"
        case ("POST", "enrollments", 1, _): words = "enrollment create"
        case ("GET", "nodes", 2, _): words = "nodes show \(named(1, or: "NODE"))"
        case ("GET", "bots", 2, _): words = "bots show \(named(1, or: "BOT"))"
        case ("GET", "commands", 2, _): words = "commands show \(named(1, or: "COMMAND"))"
        case ("GET", "nodes", 3, "strays"): words = "strays --node \(named(1, or: "NODE"))"
        case ("POST", "nodes", 3, "test"): words = "nodes test \(named(1, or: "NODE"))"
        case ("POST", "nodes", 3, "drain"): words = "nodes resume \(named(1, or: "NODE"))"
        case ("POST", "nodes", 5, "recover"), ("POST", "nodes", 5, "discard"), ("POST", "nodes", 5, "adopt"):
            words = "strays \(parts[4]) \(named(1, or: "NODE")) \(named(3, or: "BOT"))"
        case ("POST", "bots", 3, "start"), ("POST", "bots", 3, "stop"), ("POST", "bots", 3, "restart"):
            words = "bots \(parts[2]) \(named(1, or: "BOT"))"
        case ("POST", "bots", 3, "deploy"): words = "deploy \(named(1, or: "BOT")) --node NODE"
        case ("POST", "bots", 3, "rollback"): words = "deploy \(named(1, or: "BOT")) --rollback"
        case ("GET", "bots", 3, "deployments"): words = "deploy \(named(1, or: "BOT")) --history"
        case ("POST", "deployments", 3, "cancel"): words = "deploy BOT --cancel"
        default: return nil
        }
        return "control-hub \(words)"
    }
}
