/// The files of `Page/` by name; the build embeds them.
enum DashboardFiles {
    static let all: [String: [UInt8]] = [
        "api.js": PackageResources.api_js,
        "app.css": PackageResources.app_css,
        "app.js": PackageResources.app_js,
        "chat.js": PackageResources.chat_js,
        "dom.js": PackageResources.dom_js,
        "favicon.svg": PackageResources.favicon_svg,
        "format.js": PackageResources.format_js,
        "index.html": PackageResources.index_html,
        "live.js": PackageResources.live_js,
        "log.js": PackageResources.log_js,
        "login.html": PackageResources.login_html,
        "login.js": PackageResources.login_js,
        "packets.js": PackageResources.packets_js,
        "parts.js": PackageResources.parts_js,
        "store.js": PackageResources.store_js,
        "view-add-bot.js": PackageResources.view_add_bot_js,
        "view-add-node.js": PackageResources.view_add_node_js,
        "view-bot.js": PackageResources.view_bot_js,
        "view-bots.js": PackageResources.view_bots_js,
        "view-node.js": PackageResources.view_node_js,
        "view-nodes.js": PackageResources.view_nodes_js,
    ]
}
