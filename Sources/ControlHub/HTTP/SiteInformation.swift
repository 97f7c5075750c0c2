import Synchronization

/// How the hub is reached. Known in full only when the server listens, because the port may have been left open.
final class SiteInformation: Sendable {
    private let state: Mutex<HubServices.Site>

    init(_ site: HubServices.Site) { state = Mutex(site) }

    var current: HubServices.Site {
        get { state.withLock { $0 } }
        set { state.withLock { $0 = newValue } }
    }
}
