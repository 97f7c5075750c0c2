import Logging

/// What keeps those whom the hub does not know from costing more than their share. One for the whole hub.
struct Strangers: Sendable {
    let refusals: Refusals
    let desk: CredentialDesk
    let connections: ConnectionLedger

    init(
        connections settings: ConnectionCensus.Settings = ConnectionCensus.Settings(),
        bounds: [FailureLimiter.Kind: FailureLimiter.Bounds] = [:],
        trustedProxies: Set<String> = [],
        clock: HubClock,
        logger: Logger
    ) {
        refusals = Refusals(clock: clock, logger: logger)
        desk = CredentialDesk(failures: FailureLimiter(bounds, now: clock.now()), clock: clock)
        connections = ConnectionLedger(settings, trustedProxies: trustedProxies, refusals: refusals)
    }
}
