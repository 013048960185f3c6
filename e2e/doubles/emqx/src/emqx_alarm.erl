%% Alarms, as the management API lists them.
-module(emqx_alarm).
-behaviour(gen_server).

-export([start_link/0, activate/2, deactivate/1, activated/0, get_alarms/1]).
-export([init/1, handle_call/3, handle_cast/2]).

start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

activate(Name, Message) ->
    gen_server:call(?MODULE, {activate, Name, Message}).

deactivate(Name) ->
    gen_server:call(?MODULE, {deactivate, Name}).

activated() ->
    gen_server:call(?MODULE, activated).

%% As EMQX lists them inside.
get_alarms(activated) ->
    [#{name => Name, message => Message, details => #{}, activate_at => At, deactivate_at => infinity, activated => true}
     || {Name, Message, At} <- activated()].

init([]) ->
    {ok, #{}}.

handle_call({activate, Name, Message}, _From, Alarms) ->
    {reply, ok, Alarms#{Name => {Message, erlang:system_time(microsecond)}}};
handle_call({deactivate, Name}, _From, Alarms) ->
    {reply, ok, maps:remove(Name, Alarms)};
handle_call(activated, _From, Alarms) ->
    {reply, lists:sort([{Name, Message, At} || {Name, {Message, At}} <- maps:to_list(Alarms)]), Alarms}.

handle_cast(_Message, Alarms) ->
    {noreply, Alarms}.
