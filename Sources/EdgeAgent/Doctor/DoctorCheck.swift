/// One line of what `edge-agent doctor` found.
struct DoctorCheck: Codable, Equatable, Sendable {
    /// What the node's owner allows, and the steps from this machine's settings to the hub's answer, in their order.
    enum Name: String, Codable, CaseIterable, Sendable {
        case settings, policy, dns, tcp, proxy, tls, http, token, hub, clock
        /// What this machine has to keep bots to themselves; stands beside the way.
        case isolation
        /// What it has to run bots by; as above.
        case profiles

        /// The way to the hub.
        static let way = allCases.filter { $0 != .isolation && $0 != .profiles }
    }

    enum Status: String, Codable, Sendable {
        case ok
        case failed = "FAIL"
        case skipped
    }

    let name: Name
    let status: Status
    /// What was found; where it failed, what happened and what to do about it.
    let detail: String
}
