/// What a policy means for the node's owner, in sentences: pairing and the doctor say it.
struct PolicyAdvice: Sendable, Equatable {
    let policy: Policy

    /// Who says what bots' `config.json` hold, and what that amounts to.
    var configuration: String {
        let file = policy.file ?? PolicyFile.defaultPath
        guard (try? policy.checkConfiguration()) != nil else {
            return "Bots' configurations are this node's own: the hub gives them none."
        }
        return
            "The hub gives bots their config.json. A bot that runs what its configuration names (nanobot does) runs what the hub "
            + "says, as the bot's user. To keep configurations on this node, put {\"configuration\": false} into \(file)."
    }

    /// Why the hub may set no variable by a pattern; nil where the policy has none.
    var patterns: String? {
        let patterns = (policy.local.environment ?? []).filter { !$0.isExact }.map(\.text)
        guard !patterns.isEmpty else { return nil }
        return "In \(policy.file ?? PolicyFile.defaultPath), \"environment\" takes whole names alone; "
            + "\(patterns.joined(separator: ", ")) lets no variable in. List each by its name."
    }
}
