/// What only tests set, by environment variables of the two programs (docs/testing.md). Not for operators: none of it
/// makes a link better, and what a variable cannot mean is left at the default.
public struct TestSettings: Sendable, Equatable {
    /// `EDGE_TEST_SENDING_ORDER` or `HUB_TEST_SENDING_ORDER`: `first-come` switches the priorities off.
    public var sendingOrder = SendingOrder.byPriority
    /// `EDGE_TEST_PROTOCOL_VERSIONS` or `HUB_TEST_PROTOCOL_VERSIONS`: the range to speak, such as `1-2`, to stand in
    /// for a build of another age.
    public var versions = ProtocolVersion.supported
    /// `EDGE_TEST_LONGEST_WAIT_MS`: the agent waits at most so long before it dials again, so that a test sees many
    /// connections in a short time.
    public var backoff = ReconnectBackoff()
    /// `HUB_TEST_HOLD_DEPLOYMENTS`: a directory; a deployment does not begin a step while a file there has its name.
    public var deploymentHolds: String?
    /// `HUB_TEST_IMPATIENCE`: HTTP connections may be slow, and nodes silent, for so many times shorter.
    public var impatience = 1
    /// `HUB_TEST_CLOCK_TRIAL_MS`: a wall clock that jumped is followed after so long.
    public var clockTrial = JudgedTime.trial

    /// - Parameters:
    ///   - environment: all variables of the process.
    ///   - prefix: `EDGE` or `HUB`.
    public init(environment: [String: String], prefix: String) {
        deploymentHolds = environment["\(prefix)_TEST_HOLD_DEPLOYMENTS"]
        impatience = environment["\(prefix)_TEST_IMPATIENCE"].flatMap { Int(decimal: $0) }.map { max(1, $0) } ?? 1
        clockTrial = environment["\(prefix)_TEST_CLOCK_TRIAL_MS"].flatMap { Int64(decimal: $0) } ?? JudgedTime.trial
        if environment["\(prefix)_TEST_SENDING_ORDER"] == "first-come" {
            sendingOrder = .firstComeFirstServed
        }
        let ends =
            environment["\(prefix)_TEST_PROTOCOL_VERSIONS"]?.split(separator: "-").compactMap { UInt32(decimal: $0) }
            ?? []
        if ends.count == 2, ends[0] <= ends[1] {
            versions = ends[0]...ends[1]
        }
        if let milliseconds = environment["\(prefix)_TEST_LONGEST_WAIT_MS"].flatMap({ UInt32(decimal: $0) }),
            milliseconds > 0
        {
            let longest = Duration.milliseconds(clamping: milliseconds)
            backoff = ReconnectBackoff(initial: min(backoff.initial, longest), maximum: longest)
        }
    }
}
