import WireFormat

/// What a person is told whose node has a credential that the hub does not accept.
struct PairingAdvice: Sendable {
    let hubURL: String
    /// Empty where it is not known.
    let nodeName: String

    init(hubURL: String, nodeName: String) {
        self.hubURL = hubURL
        self.nodeName = nodeName
    }

    /// What is wrong, that the bots run on, and how to become the same node again. One line, no secret.
    func line(for problem: CredentialProblem) -> String {
        let what =
            switch problem {
            case .unknown: "the hub does not know this node's token"
            case .expired: "this node's token has expired"
            case .revoked: "this node was revoked on the hub"
            }
        let node = nodeName.isEmpty ? "NAME" : nodeName.contains(" ") ? "\"\(nodeName)\"" : nodeName
        // A token is also unknown where the node was deleted: then there is no node to be again.
        let anew = problem == .unknown ? " (without --node where the node was deleted)" : ""
        return "\(what); its bots run on. To pair it again as the same node, run on the hub: "
            + "control-hub enrollment create --node \(node)\(anew); then here, while the agent runs: "
            + "edge-agent enroll --again --hub \(hubURL) --code CODE"
    }
}
