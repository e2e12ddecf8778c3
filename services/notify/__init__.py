"""notify: tells people, once, and keeps the ledger of what was told.

consumes         touches (TouchRequested, TouchCancelled)
produces         deliveries (TouchDelivered, TouchFailed, TouchSuppressed): exactly one final result per touch
owns             the delivery ledger, the delivery mode of a workspace, the suppression list
never does       decide who should be told, or what about: a touch carries its recipient and every fact it shows
may happen twice a Slack message through an incoming webhook whose answer was lost (by policy, counted, shown); a mail
                 whose acceptance was not heard of is sent again under the same Message-ID; a Slack message by bot
                 token is looked up in the channel's history first, so it does not (docs/guarantees)

The bot token needs the scope chat:write and, to settle lost answers, channels:read and channels:history (for private
channels groups:read and groups:history too); the bot must be a member of the channels it posts to.
"""
