/// What the doctor says of the isolation of bots: nothing that keeps a node offline, so it never fails.
enum IsolationCheck {
    static func check(_ features: IsolationFeatures) -> DoctorCheck {
        let open = features.inForce(Cage(), hasOwnUser: false, answersCalls: features.answersCalls(of: nil))
            .filter { $0.mechanism == .none && $0.aspect != .user }
        let landlock =
            features.landlock > 0 ? "Landlock \(features.landlock)" : features.landlockShortfall
        let filter = features.filtersCalls ? "seccomp" : features.filterShortfall
        let users = features.switchesUsers ? "bots may have users of their own" : "bots run as the agent's user"
        let missing = open.isEmpty ? "" : "; bots can get at: \(open.map(\.aspect.rawValue).joined(separator: ", "))"
        return DoctorCheck(name: .isolation, status: .ok, detail: "\(landlock), \(filter), \(users)\(missing)")
    }
}
