import HTTPTypes
import Hummingbird
import Synchronization

/// Counts answers by call. Bounded: calls are counted by their route, never by their address.
final class RequestMetrics: Sendable {
    /// Seconds. From what a cached answer takes to what a page of a log over a slow link takes.
    static let bounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15]

    struct Call: Hashable, Sendable {
        let method: String
        let route: String
    }

    struct Series: Sendable {
        var counts = [UInt64](repeating: 0, count: RequestMetrics.bounds.count + 1)
        var sum = 0.0
        /// By the first digit of the status.
        var statuses: [Int: UInt64] = [:]
    }

    private let series = Mutex<[Call: Series]>([:])

    var all: [Call: Series] { series.withLock { $0 } }

    func note(_ call: Call, status: Int, seconds: Double) {
        series.withLock { series in
            let bucket = Self.bounds.firstIndex { seconds <= $0 } ?? Self.bounds.count
            series[call, default: Series()].counts[bucket] += 1
            series[call, default: Series()].sum += seconds
            series[call, default: Series()].statuses[status / 100, default: 0] += 1
        }
    }
}

/// Measures every request up to the head of its answer.
struct RequestMetricsMiddleware: RouterMiddleware {
    typealias Context = HubRequestContext

    let metrics: RequestMetrics
    let clock: HubClock

    /// Methods of their own label; anybody can invent others.
    private static let methods: Set<HTTPRequest.Method> = [.get, .head, .post, .put, .patch, .delete, .options]

    func handle(
        _ request: Request,
        context: HubRequestContext,
        next: (Request, HubRequestContext) async throws -> Response
    ) async throws -> Response {
        let began = clock.now()
        let response = try await next(request, context)
        let route = context.endpointPath ?? "none"
        metrics.note(
            RequestMetrics.Call(
                method: Self.methods.contains(request.method) ? request.method.rawValue : "other",
                route: route == "NotFound" ? "none" : route
            ),
            status: response.status.code,
            seconds: (clock.now() - began).seconds
        )
        return response
    }
}
